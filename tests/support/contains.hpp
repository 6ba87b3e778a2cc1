// Whether a text contains a part; a failed expectation shows both.
#pragma once

#include <gtest/gtest.h>

#include <string>

namespace maskedkd::testing {

inline ::testing::AssertionResult contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos ? ::testing::AssertionSuccess() << "'" << part << "' is in: " << text
                                              : ::testing::AssertionFailure() << "'" << part << "' is not in: " << text;
}

}  // namespace maskedkd::testing

#define EXPECT_CONTAINS(text, part) EXPECT_TRUE(::maskedkd::testing::contains(text, part))
