// The flags of the official code (main.py of MaskedKD, and of DeiT, from which it comes) that have another name here or
// do not exist here, in one table, so that its users get an answer for each of them. Flags of the same name and meaning
// are not in it.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace maskedkd {

struct OfficialFlag {
  std::string_view name;         // of the official code, without dashes in front, `-` for `_`
  std::string_view replacement;  // the flag of maskedkd_train that takes its value, without dashes; empty: none
  std::string_view advice;       // what to do instead where there is no replacement; one clause
};

// In the order of their names.
std::span<const OfficialFlag> official_flags();

// What maskedkd_train says about a flag that it does not have, in one line; empty: the official code does not have it
// either. name: with `-` for `_`.
std::string official_advice_for_training(const std::string& name);
// The same for maskedkd_evaluate.
std::string official_advice_for_evaluation(const std::string& name);

}  // namespace maskedkd
