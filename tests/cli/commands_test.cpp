#include "maskedkd/cli/commands.hpp"

#include "maskedkd/base/error.hpp"

#include <gtest/gtest.h>

namespace maskedkd {
namespace {

class Commands : public ::testing::Test {
 protected:
  Commands()
      : set_(
            "maskedkd_try", "Does several things.",
            {{"list", "lists what is known", [this](int argc, const char* const* argv) { return note(argc, argv, 3); }},
             {"convert", "converts a file",
              [this](int argc, const char* const* argv) { return note(argc, argv, 4); }}}) {}

  int note(int argc, const char* const* argv, int code) {
    heard_.assign(argv, argv + argc);
    return code;
  }
  std::string refusal(std::vector<const char*> argv) {
    argv.insert(argv.begin(), "/usr/bin/maskedkd_try");
    try {
      set_.choose(static_cast<int>(argv.size()), argv.data());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      return fmt::format("{}; {}", error.what(), error.hint());
    }
    return "nothing was refused";
  }

  std::vector<std::string> heard_;
  CommandSet set_;
};

TEST_F(Commands, TheFirstWordChoosesAndTheRestIsTheCommands) {
  const std::vector<const char*> argv = {"maskedkd_try", "convert", "a", "--help"};
  EXPECT_EQ(set_.run(4, argv.data()), 4);
  EXPECT_EQ(heard_, (std::vector<std::string>{"convert", "a", "--help"}));
  EXPECT_EQ(set_.run(2, std::vector{"maskedkd_try", "list"}.data()), 3);
  EXPECT_EQ(heard_, std::vector<std::string>{"list"});
}

TEST_F(Commands, AnUnknownCommandIsRefusedWithTheNearestOne) {
  EXPECT_EQ(refusal({"convrt", "a"}), "unknown command 'convrt'; did you mean convert?");
  EXPECT_EQ(refusal({"lsit"}), "unknown command 'lsit'; did you mean list?");
  EXPECT_EQ(refusal({"--hepl"}), "unknown command '--hepl'; did you mean --help?");
  EXPECT_EQ(refusal({"distill"}), "unknown command 'distill'; choose from list, convert");
  EXPECT_EQ(refusal({}), "a command is missing; choose from list, convert");
}

TEST_F(Commands, HelpListsEachCommandInOneLine) {
  EXPECT_EQ(set_.choose(2, std::vector{"maskedkd_try", "--help"}.data()), nullptr);
  EXPECT_EQ(set_.help(),
            "Does several things.\n\nUsage:\n  maskedkd_try COMMAND ...\n\nCommands (maskedkd_try COMMAND --help says "
            "more):\n  list     lists what is known\n  convert  converts a file\n");
  testing::internal::CaptureStdout();
  EXPECT_EQ(set_.run(2, std::vector{"maskedkd_try", "--help"}.data()), 0);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), set_.help());
}

}  // namespace
}  // namespace maskedkd
