// What an Error says: the text that a user would read.
#pragma once

#include "maskedkd/base/error.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace maskedkd::testing {

// A failure where there is no Error; another exception goes on.
inline std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no Error";
  return "";
}

}  // namespace maskedkd::testing
