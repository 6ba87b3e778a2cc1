#include "options_fixture.hpp"
#include "support/process.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <initializer_list>

namespace maskedkd {
namespace {

TEST_F(Options, PathsAreExpandedAsAShellDoes) {
  ::setenv("MASKEDKD_TEST_PLACE", "/scratch/of a job", 1);
  for (const std::string path :
       {"$MASKEDKD_TEST_PLACE", "${MASKEDKD_TEST_PLACE}/runs", "/a/$MASKEDKD_TEST_PLACE.d/$HOME", "~", "~/runs/1",
        "a~b", "100%", "a$/b", "a$", "$MASKEDKD_TEST_PLACE${MASKEDKD_TEST_PLACE}x"}) {
    const testing::ProcessResult shell = testing::run_process({"bash", "-c", "printf %s " + path});
    const std::string expected = path.starts_with('~') || path.find("PLACE") == std::string::npos
                                     ? shell.output
                                     : testing::run_process({"bash", "-c", "printf %s \"" + path + "\""}).output;
    parse({"--output-dir", path}, true);
    EXPECT_EQ(settings_.output_dir, expected) << path;
    parse({"--config", file("output-dir = " + path + "\n")}, true);
    EXPECT_EQ(settings_.output_dir, expected) << path;
    const testing::ProcessResult script = testing::run_process(
        {"bash", "-c",
         "eval \"$(sed -n '/^expand_path()/,/^}/p' " MASKEDKD_SOURCE_DIR "/jobs/lib.sh)\"; expand_path \"$1\"", "bash",
         path});
    EXPECT_EQ(script.output, expected) << path;
  }
  parse({"--output-dir", "/a/$$b"}, true);
  EXPECT_EQ(settings_.output_dir, "/a/$b");
  parse({"--config", file("model = a\n"), "--model", "$HOME"});
  EXPECT_EQ(settings_.model, "$HOME");  // not a path, so not expanded
}

TEST_F(Options, PathsWithOtherShellSyntaxAreRefused) {
  ::unsetenv("MASKEDKD_TEST_NOTHING");
  ::setenv("MASKEDKD_TEST_EMPTY", "", 1);
  for (const std::string name : {"MASKEDKD_TEST_NOTHING", "MASKEDKD_TEST_EMPTY"}) {
    const std::string text = refusal({"--output-dir", "/x/$" + name + "/y"}, true);
    EXPECT_CONTAINS(text, "--output-dir: '/x/$" + name + "/y': " + name + " is not set on host ");
    EXPECT_CONTAINS(text, "write the path out");
  }
  for (const char* path : {"${HOME:-x}", "a/$(hostname)", "$1", "${", "$?"}) {
    EXPECT_CONTAINS(refusal({"--output-dir", path}, true), "only $NAME and ${NAME} are expanded");
  }
  EXPECT_CONTAINS(refusal({"--output-dir", "~somebody/runs"}, true), "the home folder of another user");
}

TEST_F(Options, OptionsThatAreNotGivenKeepTheirDefaults) {
  const auto line = parse({});
  const Settings defaults;
  EXPECT_TRUE(wants_to_run_);
  EXPECT_EQ(settings_.output_dir, "out");
  EXPECT_EQ(settings_.model, defaults.model);
  EXPECT_EQ(settings_.epochs, defaults.epochs);
  EXPECT_EQ(settings_.num_images, defaults.num_images);
  EXPECT_EQ(settings_.seed, defaults.seed);
  EXPECT_EQ(settings_.learning_rate, defaults.learning_rate);
  EXPECT_EQ(settings_.ema, defaults.ema);
  EXPECT_TRUE(line->given("output-dir"));
  EXPECT_FALSE(line->given("epochs"));
}

TEST_F(Options, EveryKindIsFilledWithBlankOrEqualsSign) {
  for (const bool with_equals : {false, true}) {
    std::vector<std::string> words;
    for (const auto& [name, value] :
         std::initializer_list<std::pair<std::string, std::string>>{{"--model", "deit_small"},
                                                                    {"--epochs", "-7"},
                                                                    {"--num-images", "9007199254740993"},
                                                                    {"--seed", "18446744073709551615"},
                                                                    {"--learning-rate", "-1.5e-3"},
                                                                    {"--precision", "fp32"}}) {
      if (with_equals) {
        words.push_back(fmt::format("{}={}", name, value));
      } else {
        words.insert(words.end(), {name, value});
      }
    }
    words.insert(words.end(), {"--ema=false", "--resume-always"});
    parse(words);
    EXPECT_EQ(settings_.model, "deit_small");
    EXPECT_EQ(settings_.epochs, -7);
    EXPECT_EQ(settings_.num_images, 9007199254740993);  // 2^53 + 1, which a double can't hold
    EXPECT_EQ(settings_.seed, std::numeric_limits<std::uint64_t>::max());
    EXPECT_EQ(settings_.learning_rate, -1.5e-3);
    EXPECT_EQ(settings_.precision, 32);
    EXPECT_FALSE(settings_.ema);
    EXPECT_TRUE(settings_.resume_always);
  }
}

TEST_F(Options, DashAndUnderscoreAreTheSame) {
  parse({"--learning_rate", "0.25", "--num_images=5", "--resume_always", "--output_dir=a_b-c_d"}, true);
  EXPECT_EQ(settings_.learning_rate, 0.25);
  EXPECT_EQ(settings_.num_images, 5);
  EXPECT_TRUE(settings_.resume_always);
  EXPECT_EQ(settings_.output_dir, "a_b-c_d");  // values are not changed
  parse({"--output-dir", "x_y", "--model", "deit_base_distilled"}, true);
  EXPECT_EQ(settings_.output_dir, "x_y");
  EXPECT_EQ(settings_.model, "deit_base_distilled");
}

TEST_F(Options, BoolsTakeTheUsualWords) {
  for (const char* word : {"true", "1", "on", "yes"}) {
    parse({fmt::format("--resume-always={}", word)});
    EXPECT_TRUE(settings_.resume_always) << word;
  }
  for (const char* word : {"false", "0", "off", "no"}) {
    parse({fmt::format("--ema={}", word)});
    EXPECT_FALSE(settings_.ema) << word;
  }
  EXPECT_CONTAINS(refusal({"--ema=perhaps"}), "--ema: 'perhaps' is neither true nor false");
  parse({"--ema", "off", "--resume-always", "--epochs", "3"});
  EXPECT_FALSE(settings_.ema);
  EXPECT_TRUE(settings_.resume_always);
  EXPECT_CONTAINS(refusal({"--ema", "no", "yes"}), "unexpected argument 'yes'");
}

TEST_F(Options, AMisspeltFlagSuggestsTheNearest) {
  EXPECT_CONTAINS(refusal({"--epoch", "3"}), "did you mean --epochs?");
  EXPECT_CONTAINS(refusal({"--epcohs=3"}), "did you mean --epochs?");
  EXPECT_CONTAINS(refusal({"--learning-rat", "3"}), "did you mean --learning-rate?");
  EXPECT_CONTAINS(refusal({"--lerning_rate=3"}), "did you mean --learning-rate?");
  EXPECT_CONTAINS(refusal({"--outputdir", "x"}), "did you mean --output-dir?");
  EXPECT_CONTAINS(refusal({"--hlep"}), "did you mean --help?");
  const std::string nothing_near = refusal({"--weight-decay", "3"});
  EXPECT_CONTAINS(nothing_near, "unknown option --weight-decay");
  EXPECT_CONTAINS(nothing_near, "maskedkd_try --help");
  EXPECT_EQ(nothing_near.find("did you mean"), std::string::npos) << nothing_near;
}

TEST_F(Options, NothingIsGuessedFromAPrefix) {
  EXPECT_CONTAINS(refusal({"--epo", "3"}), "unknown option --epo");
  EXPECT_EQ(settings_.epochs, 300);
}

TEST_F(Options, AMissingValueIsNamed) {
  EXPECT_CONTAINS(refusal({"--epochs"}), "--epochs");
  EXPECT_CONTAINS(refusal({"--epochs="}), "--epochs");
  const std::string swallowed = refusal({"--model", "--epochs", "3"});
  EXPECT_CONTAINS(swallowed, "--model has no value");
  EXPECT_CONTAINS(refusal({"--model", "--epoch", "3"}), "--model has no value");
}

TEST_F(Options, NumbersOfTheWrongKindAreRefused) {
  for (const char* text : {"ten", "1.5", "1e3", "3x", " 3", "3 ", "0x10", "+-1", "", "--3"}) {
    EXPECT_CONTAINS(refusal({fmt::format("--epochs"), text}), "--epochs") << text;
  }
  EXPECT_CONTAINS(refusal({"--epochs", "3x"}), "'3x' is not a whole number");
  EXPECT_CONTAINS(refusal({"--epochs", "2147483648"}), "2147483648 is out of range");
  EXPECT_CONTAINS(refusal({"--epochs", "-2147483649"}), "out of range");
  EXPECT_CONTAINS(refusal({"--num-images", "9223372036854775808"}), "out of range");
  EXPECT_CONTAINS(refusal({"--seed", "18446744073709551616"}), "out of range");
  EXPECT_CONTAINS(refusal({"--seed", "-1"}), "'-1' is not a whole number >= 0");
  EXPECT_CONTAINS(refusal({"--learning-rate", "5e-4,"}), "'5e-4,' is not a number");
  EXPECT_CONTAINS(refusal({"--learning-rate", "1e999"}), "out of range");
  for (const char* text : {"nan", "NaN", "inf", "-inf", "infinity", "-nan"}) {
    EXPECT_CONTAINS(refusal({"--learning-rate", text}), "not a number") << text;
  }
}

TEST_F(Options, AnEnumerationListsItsNames) {
  EXPECT_CONTAINS(refusal({"--precision", "fp8"}), "'fp8' is unknown; choose from bf16, fp32");
}

TEST_F(Options, AFlagGivenTwiceIsRefused) {
  EXPECT_CONTAINS(refusal({"--epochs", "3", "--epochs", "4"}), "--epochs");
  EXPECT_CONTAINS(refusal({"--num_images=3", "--num-images=3"}), "--num-images");
  EXPECT_CONTAINS(refusal({"--ema", "--ema=false"}), "--ema");
}

TEST_F(Options, AWordThatBelongsToNoFlagIsNamed) {
  EXPECT_CONTAINS(refusal({"train"}), "unexpected argument 'train'");
  EXPECT_CONTAINS(refusal({"--epochs", "3", "4"}), "unexpected argument '4'");
  EXPECT_CONTAINS(refusal({"-e", "3"}), "unexpected argument '-e'");
}

TEST_F(Options, ARequiredOptionMustBeGivenAndNotEmpty) {
  EXPECT_CONTAINS(refusal({"--epochs", "3"}, true), "--output-dir is missing");
  EXPECT_CONTAINS(refusal({"--output-dir", ""}, true), "--output-dir");
}

TEST_F(Options, HelpShowsGroupsDefaultsAndUnitsWithoutRequiredOptions) {
  const auto line = parse({"--help"}, true);
  EXPECT_FALSE(wants_to_run_);
  const std::string help = line->help();
  std::size_t position = 0;
  // In this order: purpose, example, then groups with their options.
  for (const char* part : {"Tries options. This purpose",
                           "maskedkd_try --output-dir runs/1",
                           "Model:",
                           "--model",
                           "name of the student [deit_tiny]",
                           "--precision bf16|fp32 ",
                           "[bf16]",
                           "Training:",
                           "--output-dir PATH ",
                           "folder of the run",
                           "--epochs N ",
                           "[300]",
                           "--num-images N ",
                           "[1281167]",
                           "--learning-rate NUMBER ",
                           "global batch of 512 images [0.0005]",
                           "--ema  ",
                           "keep an average of the weights [on; off: --ema false]",
                           "--resume-always  ",
                           "go on even with changed options\n",
                           "General:",
                           "--config FILE ",
                           "--help  ",
                           "print this\n"}) {
    const std::size_t found = help.find(part, position);
    ASSERT_NE(found, std::string::npos) << part << " in\n" << help;
    position = found;
  }
  std::istringstream lines(help);
  for (std::string text; std::getline(lines, text);) {
    EXPECT_LE(text.size(), 110U) << text;
  }
}

TEST_F(Options, HelpIsShownDespiteInvalidValues) {
  parse({"--help", "--epochs", "ten"}, true);
  EXPECT_FALSE(wants_to_run_);
}

TEST_F(Options, ResolvedListsEveryOptionWithItsFinalValue) {
  const auto line = parse({"--learning_rate=1e-3", "--resume-always", "--precision", "fp32"});
  const OptionTexts expected = {{"model", "deit_tiny"},     {"precision", "fp32"},     {"output-dir", "out"},
                                {"epochs", "300"},          {"num-images", "1281167"}, {"seed", "0", OnResume::fixed},
                                {"learning-rate", "0.001"}, {"ema", "true"},           {"resume-always", "true"}};
  EXPECT_EQ(line->resolved(), expected);
}

}  // namespace
}  // namespace maskedkd
