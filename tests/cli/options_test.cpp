#include "maskedkd/cli/options.hpp"

#include "maskedkd/base/error.hpp"
#include "support/process.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <initializer_list>

namespace maskedkd {
namespace {

constexpr const char* kManyWords =
    "It says so in more words than a line has room for, as the programs do that tell what they are good for and what "
    "becomes of an interrupted run.";

// Every kind of variable that an option can fill, as a program would bind them.
struct Settings {
  std::string model = "deit_tiny";
  std::filesystem::path output_dir;
  int epochs = 300;
  std::int64_t num_images = 1'281'167;
  std::uint64_t seed = 0;
  double learning_rate = 5e-4;
  bool ema = true;
  bool resume_always = false;
  int precision = 16;
};

class Options : public ::testing::Test {
 protected:
  std::unique_ptr<CommandLine> make(Settings& settings) {
    auto line = std::make_unique<CommandLine>("maskedkd_try", "Tries options. " + std::string(kManyWords),
                                              "maskedkd_try --output-dir runs/1");
    line->group("Model")
        .option("model", settings.model, "name of the student")
        .option("precision", "bf16", "bf16 or fp32", [&settings](const std::string& text) {
          if (text != "bf16" && text != "fp32") {
            throw usage_error(fmt::format("--precision: '{}' is unknown", text), "choose from bf16, fp32");
          }
          settings.precision = text == "bf16" ? 16 : 32;
        });
    line->group("Training")
        .option("output-dir", settings.output_dir, "folder of the run")
        .option("epochs", settings.epochs, "passes over the data")
        .option("num-images", settings.num_images, "images an epoch")
        .option("seed", settings.seed, "seed of everything random")
        .option("learning-rate", settings.learning_rate, "at a global batch of 512 images")
        .option("ema", settings.ema, "keep an average of the weights")
        .option("resume-always", settings.resume_always, "go on even with changed options")
        .required("output-dir");
    return line;
  }

  // Parses the words after the program's name, with the required one given unless bare.
  std::unique_ptr<CommandLine> parse(std::vector<std::string> words, bool bare = false) {
    settings_ = Settings{};
    auto line = make(settings_);
    std::vector<const char*> argv = {"maskedkd_try"};
    if (!bare) {
      argv.insert(argv.end(), {"--output-dir", "out"});
    }
    for (const std::string& word : words) {
      argv.push_back(word.c_str());
    }
    wants_to_run_ = line->parse(static_cast<int>(argv.size()), argv.data());
    return line;
  }

  // The refusal as run_main prints it: message; hint.
  std::string refusal(const std::vector<std::string>& words, bool bare = false) {
    try {
      parse(words, bare);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      const std::string text = fmt::format("{}; {}", error.what(), error.hint());
      EXPECT_EQ(text.find('\n'), std::string::npos) << "more than one line: " << text;
      return text;
    }
    return "nothing was refused";
  }

  std::string file(const std::string& text) {
    const auto path = directory_.path() / "options.txt";
    std::ofstream(path) << text;
    return path.string();
  }

  testing::TemporaryDirectory directory_;
  Settings settings_;
  bool wants_to_run_ = false;
};

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

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
        {"bash", "-c", "eval \"$(sed -n '/^expanded()/,/^}/p' " MASKEDKD_SOURCE_DIR "/jobs/lib.sh)\"; expanded \"$1\"",
         "bash", path});
    EXPECT_EQ(script.output, expected) << path;
  }
  parse({"--output-dir", "/a/$$b"}, true);
  EXPECT_EQ(settings_.output_dir, "/a/$b");
  parse({"--config", file("model = a\n"), "--model", "$HOME"});
  EXPECT_EQ(settings_.model, "$HOME");  // no path
}

TEST_F(Options, PathsThatOnlyAShellCanExpandAreRefused) {
  ::unsetenv("MASKEDKD_TEST_NOTHING");
  ::setenv("MASKEDKD_TEST_EMPTY", "", 1);
  for (const std::string name : {"MASKEDKD_TEST_NOTHING", "MASKEDKD_TEST_EMPTY"}) {
    const std::string text = refusal({"--output-dir", "/x/$" + name + "/y"}, true);
    EXPECT_SAYS(text, "--output-dir: '/x/$" + name + "/y': " + name + " is not set on host ");
    EXPECT_SAYS(text, "write the path out");
  }
  for (const char* path : {"${HOME:-x}", "a/$(hostname)", "$1", "${", "$?"}) {
    EXPECT_SAYS(refusal({"--output-dir", path}, true), "only $NAME and ${NAME} are expanded");
  }
  EXPECT_SAYS(refusal({"--output-dir", "~somebody/runs"}, true), "the home folder of another user");
}

TEST_F(Options, DefaultsStayWhereNothingIsGiven) {
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

TEST_F(Options, EveryKindIsFilledWrittenEitherWay) {
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
    EXPECT_EQ(settings_.num_images, 9007199254740993);  // 2^53 + 1: no double on the way
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
  EXPECT_EQ(settings_.output_dir, "a_b-c_d");  // a value keeps what it has
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
  EXPECT_SAYS(refusal({"--ema=perhaps"}), "--ema: 'perhaps' is neither true nor false");
  parse({"--ema", "off", "--resume-always", "--epochs", "3"});
  EXPECT_FALSE(settings_.ema);
  EXPECT_TRUE(settings_.resume_always);
  EXPECT_SAYS(refusal({"--ema", "no", "yes"}), "unexpected argument 'yes'");
}

TEST_F(Options, AMisspeltFlagSuggestsTheNearest) {
  EXPECT_SAYS(refusal({"--epoch", "3"}), "did you mean --epochs?");
  EXPECT_SAYS(refusal({"--epcohs=3"}), "did you mean --epochs?");
  EXPECT_SAYS(refusal({"--learning-rat", "3"}), "did you mean --learning-rate?");
  EXPECT_SAYS(refusal({"--lerning_rate=3"}), "did you mean --learning-rate?");
  EXPECT_SAYS(refusal({"--outputdir", "x"}), "did you mean --output-dir?");
  EXPECT_SAYS(refusal({"--hlep"}), "did you mean --help?");
  const std::string nothing_near = refusal({"--weight-decay", "3"});
  EXPECT_SAYS(nothing_near, "unknown option --weight-decay");
  EXPECT_SAYS(nothing_near, "maskedkd_try --help");
  EXPECT_EQ(nothing_near.find("did you mean"), std::string::npos) << nothing_near;
}

TEST_F(Options, NothingIsGuessedFromAPrefix) {
  EXPECT_SAYS(refusal({"--epo", "3"}), "unknown option --epo");
  EXPECT_EQ(settings_.epochs, 300);
}

TEST_F(Options, AMissingValueIsNamed) {
  EXPECT_SAYS(refusal({"--epochs"}), "--epochs");
  EXPECT_SAYS(refusal({"--epochs="}), "--epochs");
  const std::string swallowed = refusal({"--model", "--epochs", "3"});
  EXPECT_SAYS(swallowed, "--model has no value");
  EXPECT_SAYS(refusal({"--model", "--epoch", "3"}), "--model has no value");
}

TEST_F(Options, NumbersOfTheWrongKindAreRefused) {
  for (const char* text : {"ten", "1.5", "1e3", "3x", " 3", "3 ", "0x10", "+-1", "", "--3"}) {
    EXPECT_SAYS(refusal({fmt::format("--epochs"), text}), "--epochs") << text;
  }
  EXPECT_SAYS(refusal({"--epochs", "3x"}), "'3x' is not a whole number");
  EXPECT_SAYS(refusal({"--epochs", "2147483648"}), "2147483648 is out of range");
  EXPECT_SAYS(refusal({"--epochs", "-2147483649"}), "out of range");
  EXPECT_SAYS(refusal({"--num-images", "9223372036854775808"}), "out of range");
  EXPECT_SAYS(refusal({"--seed", "18446744073709551616"}), "out of range");
  EXPECT_SAYS(refusal({"--seed", "-1"}), "'-1' is not a whole number >= 0");
  EXPECT_SAYS(refusal({"--learning-rate", "5e-4,"}), "'5e-4,' is not a number");
  EXPECT_SAYS(refusal({"--learning-rate", "1e999"}), "out of range");
  for (const char* text : {"nan", "NaN", "inf", "-inf", "infinity", "-nan"}) {
    EXPECT_SAYS(refusal({"--learning-rate", text}), "not a number") << text;
  }
}

TEST_F(Options, AnEnumerationListsItsNames) {
  EXPECT_SAYS(refusal({"--precision", "fp8"}), "'fp8' is unknown; choose from bf16, fp32");
}

TEST_F(Options, AFlagGivenTwiceIsRefused) {
  EXPECT_SAYS(refusal({"--epochs", "3", "--epochs", "4"}), "--epochs");
  EXPECT_SAYS(refusal({"--num_images=3", "--num-images=3"}), "--num-images");
  EXPECT_SAYS(refusal({"--ema", "--ema=false"}), "--ema");
}

TEST_F(Options, AWordThatBelongsToNoFlagIsNamed) {
  EXPECT_SAYS(refusal({"train"}), "unexpected argument 'train'");
  EXPECT_SAYS(refusal({"--epochs", "3", "4"}), "unexpected argument '4'");
  EXPECT_SAYS(refusal({"-e", "3"}), "unexpected argument '-e'");
}

TEST_F(Options, WhatIsRequiredMustBeThereAndNotEmpty) {
  EXPECT_SAYS(refusal({"--epochs", "3"}, true), "--output-dir is missing");
  EXPECT_SAYS(refusal({"--output-dir", ""}, true), "--output-dir");
}

TEST_F(Options, HelpShowsGroupsDefaultsAndUnitsAndNeedsNothing) {
  const auto line = parse({"--help"}, true);
  EXPECT_FALSE(wants_to_run_);
  const std::string help = line->help();
  std::size_t position = 0;
  // In this order: purpose, example, then groups with their options.
  for (const char* part : {"Tries options. It says so",
                           "maskedkd_try --output-dir runs/1",
                           "Model:",
                           "--model",
                           "name of the student [deit_tiny]",
                           "--precision",
                           "[bf16]",
                           "Training:",
                           "--output-dir",
                           "folder of the run",
                           "--epochs",
                           "[300]",
                           "--num-images",
                           "[1281167]",
                           "--learning-rate",
                           "global batch of 512 images [0.0005]",
                           "--ema",
                           "[true]",
                           "General:",
                           "--config",
                           "--help"}) {
    const std::size_t found = help.find(part, position);
    ASSERT_NE(found, std::string::npos) << part << " in\n" << help;
    position = found;
  }
  EXPECT_EQ(help.find("=true"), std::string::npos) << "Boost's spelling of a flag's value\n" << help;
  std::istringstream lines(help);
  for (std::string text; std::getline(lines, text);) {
    EXPECT_LE(text.size(), 110U) << text;
  }
}

TEST_F(Options, HelpWinsOverOtherMistakesOfValue) {
  parse({"--help", "--epochs", "ten"}, true);
  EXPECT_FALSE(wants_to_run_);
}

TEST_F(Options, ResolvedListsEveryOptionAsItEndedUp) {
  const auto line = parse({"--learning_rate=1e-3", "--resume-always", "--precision", "fp32"});
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"model", "deit_tiny"},     {"precision", "fp32"},     {"output-dir", "out"},
      {"epochs", "300"},          {"num-images", "1281167"}, {"seed", "0"},
      {"learning-rate", "0.001"}, {"ema", "true"},           {"resume-always", "true"}};
  EXPECT_EQ(line->resolved(), expected);
}

TEST_F(Options, AFileIsReadAndTheCommandLineWins) {
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

TEST_F(Options, ARequiredOptionMayStandInTheFile) {
  parse({"--config=" + file("output_dir = somewhere\n")}, true);
  EXPECT_EQ(settings_.output_dir, "somewhere");
}

// A path with # in it is not cut: a comment begins at the line's start or after a blank.
TEST_F(Options, AValueInTheFileKeepsItsHash) {
  parse({"--config", file("output-dir = runs/try#3 # the third\n")}, true);
  EXPECT_EQ(settings_.output_dir, "runs/try#3");
}

TEST_F(Options, WhatResolvedTellsCanBeReadBackAsAFile) {
  const auto first = parse({"--learning-rate=0.1", "--seed=5", "--ema=false", "--precision=fp32"});
  std::string text;
  for (const auto& [name, value] : first->resolved()) {
    text += fmt::format("{} = {}\n", name, value);
  }
  const auto again = parse({"--config", file(text)}, true);
  EXPECT_EQ(again->resolved(), first->resolved());
}

TEST_F(Options, AFileFromAnotherSystemIsReadOrItsEncodingNamed) {
  parse({"--config", file("\xEF\xBB\xBFoutput-dir = runs/a\r\n# a comment\r\nseed = 7\r\n")}, true);
  EXPECT_EQ(settings_.output_dir, "runs/a");
  EXPECT_EQ(settings_.seed, 7u);
  EXPECT_SAYS(refusal({"--config", file(std::string("s\0e\0e\0d\0", 8))}), "is text in UTF-16LE, not in UTF-8");
}

TEST_F(Options, AMistakeInTheFileNamesFileAndLine) {
  const auto expect = [&](const std::string& text, const std::string& where, const std::string& what) {
    const std::string path = file(text);
    const std::string said = refusal({"--config", path});
    EXPECT_SAYS(said, path + where);
    EXPECT_SAYS(said, what);
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

TEST_F(Options, AMistakeInTheFileThatTheCommandLineOverrulesIsStillOne) {
  EXPECT_SAYS(refusal({"--config", file("epochs = ten\n"), "--epochs", "3"}), "'ten' is not a whole number");
}

TEST_F(Options, AFileThatCannotBeReadIsNamed) {
  EXPECT_SAYS(refusal({"--config", "/nowhere/options.txt"}), "can't read /nowhere/options.txt");
  EXPECT_SAYS(refusal({"--config", directory_.path().string()}), "can't read " + directory_.path().string());
}

}  // namespace
}  // namespace maskedkd
