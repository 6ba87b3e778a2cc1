// A command line with an option of every kind.
#pragma once

#include "maskedkd/cli/options.hpp"

#include "maskedkd/base/enum_names.hpp"
#include "maskedkd/base/error.hpp"
#include "support/contains.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace maskedkd {

inline constexpr const char* kManyWords =
    "This purpose is longer than one line of the help, as that of a program is that explains what it does and how an "
    "interrupted run goes on.";

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
        .option("precision bf16|fp32", "bf16", "of matrix products", [&settings](const std::string& text) {
          constexpr EnumNames<int, 2> kBits = {{{"bf16", 16}, {"fp32", 32}}};
          settings.precision = parse_name(kBits, text, "--precision");
        });
    line->group("Training")
        .option("output-dir", settings.output_dir, "folder of the run")
        .option("epochs", settings.epochs, "passes over the data")
        .option("num-images", settings.num_images, "images an epoch")
        .option("seed", settings.seed, "seed of everything random", OnResume::fixed)
        .option("learning-rate", settings.learning_rate, "at a global batch of 512 images")
        .option("ema", settings.ema, "keep an average of the weights")
        .option("resume-always", settings.resume_always, "go on even with changed options")
        .required("output-dir");
    return line;
  }

  // Parses the words after the program's name. The required option is added unless `bare` is true.
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

  // The error as run_main prints it: message; hint.
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

}  // namespace maskedkd
