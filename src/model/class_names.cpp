#include "maskedkd/model/class_names.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/look_alike.hpp"
#include "maskedkd/base/quoted_name.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

namespace maskedkd {
namespace {

constexpr const char* kMetadataKey = "class_names";
constexpr std::size_t kWordNetDigits = 8;
constexpr std::size_t kImageNetClasses = 1000;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The WordNet id that the name begins with, "n01440764"; empty: it begins with none.
std::string_view wordnet_id(std::string_view name) {
  if (name.size() < 1 + kWordNetDigits || name.front() != 'n') {
    return {};
  }
  const std::string_view digits = name.substr(1, kWordNetDigits);
  const bool ends = name.size() == 1 + kWordNetDigits ||
                    std::string_view(" \t_,:-").find(name[1 + kWordNetDigits]) != std::string_view::npos;
  return ends && std::all_of(digits.begin(), digits.end(), is_digit) ? name.substr(0, 1 + kWordNetDigits)
                                                                     : std::string_view();
}

// The part of the name that identifies the class.
std::string_view identity(std::string_view name) {
  const std::string_view id = wordnet_id(name);
  return id.empty() ? name : id;
}

// Names of `all` whose identity `others` lacks, in their order.
ClassNames missing_in(const ClassNames& others, const ClassNames& all) {
  std::set<std::string_view> known;
  for (const std::string& name : others) {
    known.insert(identity(name));
  }
  ClassNames missing;
  std::copy_if(all.begin(), all.end(), std::back_inserter(missing),
               [&](const std::string& name) { return known.count(identity(name)) == 0; });
  return missing;
}

// "('cat', 'dog')"
std::string listed(const ClassNames& names) {
  constexpr std::size_t kShown = 3;
  std::string shown;
  for (std::size_t i = 0; i < std::min(kShown, names.size()); ++i) {
    shown += fmt::format("{}{}", i == 0 ? "" : ", ", quoted_name(names[i]));
  }
  return fmt::format("({}{})", shown, names.size() > kShown ? ", ..." : "");
}

// Among names that only one list has: pairs that look alike, the given one first.
std::vector<std::pair<std::string, std::string>> look_alikes(const ClassNames& lacking, const ClassNames& additional) {
  std::map<std::u32string, std::string> by_look;
  for (const std::string& name : lacking) {
    by_look.emplace(look_key(name), name);
  }
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& name : additional) {
    if (const auto twin = by_look.find(look_key(name)); twin != by_look.end()) {
      pairs.emplace_back(name, twin->second);
      by_look.erase(twin);
    }
  }
  return pairs;
}

// How the two sets of names differ.
std::string compare_as_sets(const ClassNames& lacking, const ClassNames& additional, std::size_t num_expected) {
  if (lacking.empty() && additional.empty()) {
    return "the same names in another order";
  }
  const auto pairs = look_alikes(lacking, additional);
  if (pairs.size() == lacking.size() && pairs.size() == additional.size()) {
    return fmt::format("{} of {} names {} written differently, {}", pairs.size(), num_expected,
                       pairs.size() == 1 ? "is" : "are", instead_of(pairs.front().first, pairs.front().second));
  }
  if (lacking.size() == num_expected) {
    return "no name is in both";
  }
  std::string text = lacking.empty() ? "" : fmt::format("it lacks {} {}", lacking.size(), listed(lacking));
  if (!additional.empty()) {
    text += fmt::format("{} {} more {}", text.empty() ? "it has" : " and has", additional.size(), listed(additional));
  }
  if (!pairs.empty()) {
    text += fmt::format(", among them {}", instead_of(pairs.front().first, pairs.front().second));
  }
  return text;
}

}  // namespace

std::optional<ClassDifference> class_difference(const ClassNames& expected, const ClassNames& given) {
  const std::size_t common = std::min(expected.size(), given.size());
  std::vector<std::size_t> others;  // labels that mean different classes
  for (std::size_t label = 0; label < common; ++label) {
    if (identity(expected[label]) != identity(given[label])) {
      others.push_back(label);
    }
  }
  if (others.empty()) {
    return std::nullopt;
  }
  const ClassNames lacking = missing_in(given, expected), additional = missing_in(expected, given);
  const bool only_spelling_differs = std::all_of(others.begin(), others.end(), [&](std::size_t label) {
    return !likeness(given[label], expected[label]).empty();
  });
  ClassDifference difference;
  difference.reordered = lacking.empty() && additional.empty();
  difference.text = compare_as_sets(lacking, additional, expected.size());
  if (!only_spelling_differs) {
    difference.text += fmt::format("; {} of {} labels mean another class, the first is label {}: {}", others.size(),
                                   common, others.front(), instead_of(given[others.front()], expected[others.front()]));
  }
  return difference;
}

bool are_imagenet_synsets(const ClassNames& names) {
  std::set<std::string_view> ids;
  for (const std::string& name : names) {
    ids.insert(wordnet_id(name));
  }
  return names.size() == kImageNetClasses && ids.size() == kImageNetClasses && ids.count({}) == 0;
}

bool are_imagenet_synsets_in_order(const ClassNames& names) {
  return are_imagenet_synsets(names) && std::is_sorted(names.begin(), names.end(), [](const auto& a, const auto& b) {
           return wordnet_id(a) < wordnet_id(b);
         });
}

SafetensorsMetadata class_metadata(const ClassNames& names) { return {{kMetadataKey, nlohmann::json(names).dump()}}; }

ClassNames class_names_in(const SafetensorsMetadata& metadata) {
  const auto text = metadata.find(kMetadataKey);
  if (text == metadata.end()) {
    return {};
  }
  try {
    return nlohmann::json::parse(text->second).get<ClassNames>();
  } catch (const nlohmann::json::exception&) {
    return {};  // another program's key, in another form
  }
}

}  // namespace maskedkd
