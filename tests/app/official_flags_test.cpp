// Every flag of the official code (official_flags.txt) is accepted or answered with a hint.
#include "maskedkd/app/official_flags.hpp"

#include "maskedkd/app/train_command.hpp"
#include "maskedkd/base/error.hpp"
#include "support/contains.hpp"
#include "support/process.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

namespace maskedkd::testing {
namespace {

// The names in their original spelling, such as "--len_num_keep".
std::vector<std::string> official_names() {
  std::ifstream file(std::string(MASKEDKD_SOURCE_DIR) + "/tests/app/official_flags.txt");
  std::set<std::string> names;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line.substr(0, line.find('|')));
    for (std::string word; line.starts_with("--") && words >> word;) {
      names.insert(word);
    }
  }
  return {names.begin(), names.end()};
}

// "message; hint" of maskedkd_train.
std::string answer_of_training(const std::vector<std::string>& words) {
  std::vector<const char*> argv = {"maskedkd_train"};
  for (const std::string& word : words) {
    argv.push_back(word.c_str());
  }
  std::string help;
  try {
    TrainCommand::parse(static_cast<int>(argv.size()), argv.data(), help);
  } catch (const Error& error) {
    return fmt::format("{}; {}", error.what(), error.hint());
  }
  return help;
}

std::set<std::string> flags_in(const std::string& text) {
  const std::regex flag("--[a-z][a-z0-9-]*");
  std::set<std::string> names;
  for (auto match = std::sregex_iterator(text.begin(), text.end(), flag); match != std::sregex_iterator(); ++match) {
    names.insert(match->str());
  }
  return names;
}

std::string with_dashes(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::string with_underscores(std::string name) {
  std::replace(name.begin() + 2, name.end(), '-', '_');
  return name;
}

std::set<std::string> flags_of_evaluation() {
  const ProcessResult help = run_process({std::string(MASKEDKD_BIN_DIR) + "/maskedkd_evaluate", "--help"});
  EXPECT_EQ(help.exit_code, 0) << help.output;
  return flags_in(help.output);
}

TEST(OfficialFlags, TrainingAcceptsEachFlagOrNamesItsReplacementInOneLine) {
  const std::set<std::string> ours = flags_in(answer_of_training({"--help"}));
  const std::set<std::string> evaluation = flags_of_evaluation();
  ASSERT_EQ(official_names().size(), 79U);
  for (const std::string& name : official_names()) {
    for (const std::string& spelt : {with_dashes(name), with_underscores(name)}) {
      const std::string answer = answer_of_training({spelt, "1"});
      if (ours.count(with_dashes(name)) != 0) {
        EXPECT_FALSE(contains(answer, "unknown option")) << answer;
        continue;
      }
      EXPECT_CONTAINS(answer, "unknown option " + with_dashes(name) + "; ");
      EXPECT_CONTAINS(answer, "official code");
      EXPECT_FALSE(contains(answer, "did you mean")) << answer;
      EXPECT_FALSE(contains(answer, "\n")) << answer;
      EXPECT_LT(answer.size(), 200U) << answer;
      for (const std::string& named : flags_in(answer)) {
        EXPECT_TRUE(named == with_dashes(name) || name == "--ThreeAugment" || ours.count(named) != 0 ||
                    evaluation.count(named) != 0)
            << named << " in: " << answer;
      }
    }
  }
}

TEST(OfficialFlags, HintsNameTheRightReplacements) {
  for (const auto& [name, parts] :
       std::vector<std::pair<std::string, std::vector<std::string>>>{{"--len_num_keep", {"--keep here"}},
                                                                     {"--reprob", {"--erasing here"}},
                                                                     {"--eval", {"maskedkd_evaluate"}},
                                                                     {"--sched", {"cosine"}},
                                                                     {"--opt", {"AdamW"}},
                                                                     {"--opt_betas", {"--beta1", "--beta2"}},
                                                                     {"--world_size", {"mpiexec"}},
                                                                     {"--model-ema", {"--model-ema-decay 0.99996"}},
                                                                     {"--no-repeated-aug", {"--repeats 1"}},
                                                                     {"--ThreeAugment", {"--three-augment here"}}}) {
    for (const std::string& part : parts) {
      EXPECT_CONTAINS(answer_of_training({name, "1"}), part);
    }
  }
  EXPECT_TRUE(contains(answer_of_training({"--lern-rate", "1"}), "unknown option --lern-rate")) << "still answered";
  EXPECT_CONTAINS(answer_of_training({"--epoch", "1"}), "did you mean --epochs?");
}

TEST(OfficialFlags, TheTableContainsExactlyTheFlagsOfTheOfficialCode) {
  std::set<std::string> names;
  for (const std::string& name : official_names()) {
    names.insert(with_dashes(name).substr(2));
  }
  for (const OfficialFlag& flag : official_flags()) {
    EXPECT_EQ(names.count(std::string(flag.name)), 1U) << flag.name;
    EXPECT_NE(flag.replacement.empty(), flag.advice.empty()) << flag.name;
  }
}

TEST(OfficialFlags, EvaluationAcceptsEachFlagOrNamesItsReplacementInOneLine) {
  const std::set<std::string> ours = flags_of_evaluation(), training = flags_in(answer_of_training({"--help"}));
  for (const std::string& name : official_names()) {
    const std::string flag = with_dashes(name), answer = official_advice_for_evaluation(flag.substr(2));
    if (ours.count(flag) != 0) {
      continue;
    }
    EXPECT_FALSE(answer.empty()) << name;
    for (const std::string& named : flags_in(answer)) {
      EXPECT_TRUE(named == flag || name == "--ThreeAugment" || ours.count(named) != 0) << named << " in: " << answer;
    }
  }
  const ProcessResult result =
      run_process({std::string(MASKEDKD_BIN_DIR) + "/maskedkd_evaluate", "--resume", "runs/deit_tiny"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_CONTAINS(result.output, "the official code's --resume is --weights here");
}

}  // namespace
}  // namespace maskedkd::testing
