// The file of --config is read, overridden by the command line, and its mistakes are named.
#include "options_fixture.hpp"

#include <cstdlib>

namespace maskedkd {
namespace {

using ConfigFile = Options;

TEST_F(ConfigFile, AFileIsReadAndTheCommandLineWins) {
  const std::string path = file(
      "# a comment = with an equals sign\n"
      "\n"
      "epochs = 12\n"
      "  learning_rate=0.125   # of the schedule\n"
      "num-images = 77\r\n"
      "ema = false\n"
      "model = a=b\n");
  const auto line = parse({"--config", path, "--num_images=78"});
  EXPECT_EQ(settings_.epochs, 12);
  EXPECT_EQ(settings_.learning_rate, 0.125);
  EXPECT_EQ(settings_.num_images, 78);
  EXPECT_FALSE(settings_.ema);
  EXPECT_EQ(settings_.model, "a=b");
  EXPECT_TRUE(line->given("epochs"));
  EXPECT_FALSE(line->given("seed"));
}

TEST_F(ConfigFile, TheFileMayContainARequiredOption) {
  parse({"--config=" + file("output_dir = somewhere\n")}, true);
  EXPECT_EQ(settings_.output_dir, "somewhere");
}

// A # begins a comment only at the beginning of a line or after a blank.
TEST_F(ConfigFile, AValueMayContainAHash) {
  parse({"--config", file("output-dir = runs/try#3 # the third\n")}, true);
  EXPECT_EQ(settings_.output_dir, "runs/try#3");
}

TEST_F(ConfigFile, ResolvedOptionsCanBeReadBackAsAFile) {
  const auto first = parse({"--learning-rate=0.1", "--seed=5", "--ema=false", "--precision=fp32"});
  std::string text;
  for (const OptionText& option : first->resolved()) {
    text += fmt::format("{} = {}\n", option.name, option.text);
  }
  const auto again = parse({"--config", file(text)}, true);
  EXPECT_EQ(again->resolved(), first->resolved());
}

TEST_F(ConfigFile, AFileFromAnotherSystemIsReadOrItsEncodingNamed) {
  parse({"--config", file("\xEF\xBB\xBFoutput-dir = runs/a\r\n# a comment\r\nseed = 7\r\n")}, true);
  EXPECT_EQ(settings_.output_dir, "runs/a");
  EXPECT_EQ(settings_.seed, 7u);
  EXPECT_CONTAINS(refusal({"--config", file(std::string("s\0e\0e\0d\0", 8))}), "is text in UTF-16LE, not in UTF-8");
}

TEST_F(ConfigFile, AMistakeInTheFileNamesFileAndLine) {
  const auto expect = [&](const std::string& text, const std::string& where, const std::string& what) {
    const std::string path = file(text);
    const std::string message = refusal({"--config", path});
    EXPECT_CONTAINS(message, path + where);
    EXPECT_CONTAINS(message, what);
  };
  expect("seed = 1\nepoch = 3\n", ":2: ", "unknown option epoch; did you mean epochs?");
  expect("\n\nweight-decay = 3\n", ":3: ", "weight-decay");
  expect("seed = 1\nepochs = ten\n", ":2: ", "'ten' is not a whole number");
  expect("precision = fp8\n", ":1: ", "choose from bf16, fp32");
  expect("seed = 1\nepochs\n", ":2: ", "key = value");
  expect("= 3\n", ":1: ", "key = value");
  expect("[training]\nepochs = 3\n", ":1: ", "key = value");
  expect("learning-rate = 1\nseed = 2\nlearning_rate = 1\n", ":3: ", "learning-rate is given twice");
  expect("epochs =\n", ":1: ", "epochs");
  expect("config = other\n", ":1: ", "config");
}

TEST_F(ConfigFile, AMistakeInTheFileIsRefusedEvenIfTheCommandLineOverridesIt) {
  EXPECT_CONTAINS(refusal({"--config", file("epochs = ten\n"), "--epochs", "3"}), "'ten' is not a whole number");
}

TEST_F(ConfigFile, MayUseAnUnsetVariableIfTheCommandLineOverridesIt) {
  unsetenv("MASKEDKD_TEST_NOTHING");
  const std::string path = file("output-dir = $MASKEDKD_TEST_NOTHING/runs\n");
  EXPECT_CONTAINS(refusal({"--config", path}, true), "MASKEDKD_TEST_NOTHING is not set");
  parse({"--config", path, "--output-dir", "here"}, true);
  EXPECT_EQ(settings_.output_dir, "here");
}

TEST_F(ConfigFile, AFileThatCannotBeReadIsNamed) {
  EXPECT_CONTAINS(refusal({"--config", "/nowhere/options.txt"}), "can't read /nowhere/options.txt");
  EXPECT_CONTAINS(refusal({"--config", directory_.path().string()}), "can't read " + directory_.path().string());
}

}  // namespace
}  // namespace maskedkd
