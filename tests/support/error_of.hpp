#pragma once

#include "maskedkd/base/error.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace maskedkd::testing {

// Fails the test if no Error is thrown; other exceptions are passed on.
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
