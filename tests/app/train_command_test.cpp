// The resolved options of a run: printed at the start, saved in its checkpoints and compared when it is resumed.
#include "maskedkd/app/train_command.hpp"

#include "app/small_run.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/model/description.hpp"
#include "maskedkd/train/run_state.hpp"
#include "support/contains.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <regex>
#include <set>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

class TrainCommandTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    place = new TemporaryDirectory;
    pack_images(place->path() / "sets" / "train", 64);
    pack_images(place->path() / "sets" / "val", 16);
  }
  static void TearDownTestSuite() { delete place; }

  static fs::path sets() { return place->path() / "sets"; }

  static TrainCommand parse(const Arguments& more) {
    std::vector<std::string> words = {"maskedkd_train", "--output-dir", "run"};
    words.insert(words.end(), more.begin(), more.end());
    if (std::find(more.begin(), more.end(), "--data-path") == more.end()) {
      words.insert(words.end(), {"--data-path", sets()});
    }
    std::vector<const char*> argv;
    for (const std::string& word : words) {
      argv.push_back(word.c_str());
    }
    std::string help;
    return TrainCommand::parse(static_cast<int>(argv.size()), argv.data(), help).value();
  }
  static std::map<std::string, std::string> in_force(const Arguments& more) {
    std::map<std::string, std::string> texts;
    for (const OptionText& option : parse(more).texts) {
      texts[option.name] = option.text;
    }
    return texts;
  }
  // "message; hint" of validating for so many ranks, or nothing.
  static std::string refusal(const Arguments& more, int ranks) {
    Arguments all = {"--distillation-type", "none"};
    all.insert(all.end(), more.begin(), more.end());
    try {
      parse(all).train.validate(ranks);
    } catch (const Error& error) {
      return fmt::format("{}; {}", error.what(), error.hint());
    }
    return "";
  }

  inline static TemporaryDirectory* place = nullptr;
};

// The sizes are those of timm.
TEST_F(TrainCommandTest, APublishedModelShowsItsSizes) {
  auto shown = in_force({"--model", "deit_small_patch16_224"});
  for (const auto& [name, text] : std::map<std::string, std::string>{{"input-size", "224"},
                                                                     {"patch-size", "16"},
                                                                     {"width", "384"},
                                                                     {"depth", "12"},
                                                                     {"heads", "6"},
                                                                     {"distilled", "false"},
                                                                     {"layer-scale", "false"},
                                                                     {"position-on-class-token", "true"},
                                                                     {"num-classes", "4"}}) {
    EXPECT_EQ(shown[name], text) << name;
  }
  shown = in_force({"--model", "deit3_base_patch16_384"});
  EXPECT_EQ(
      shown["input-size"] + " " + shown["width"] + " " + shown["layer-scale"] + " " + shown["position-on-class-token"],
      "384 768 true false");
  EXPECT_EQ(in_force({"--model", "deit_tiny_distilled_patch16_224"})["distilled"], "true");
  shown = in_force({"--model", "vit", "--width", "64", "--heads", "4", "--num-classes", "9"});
  EXPECT_EQ(shown["width"] + " " + shown["heads"] + " " + shown["num-classes"], "64 4 9");
}

TEST_F(TrainCommandTest, ValuesDerivedFromOtherOptionsAreShown) {
  auto shown = in_force({});
  EXPECT_EQ(shown["data-path"], sets() / "train");
  EXPECT_EQ(shown["eval-data-path"], sets() / "val");
  EXPECT_EQ(shown["keep"], "0.5");
  EXPECT_EQ(shown["micro-batch"], "128");
  EXPECT_EQ(shown["bad-records-limit"], "0") << "the first damaged record stops the run";
  EXPECT_EQ(in_force({"--mask-criterion", "all"})["keep"], "1.0");
  EXPECT_EQ(in_force({"--three-augment"})["aa"], "none");
  EXPECT_EQ(in_force({"--on-bad-record", "skip"})["bad-records-limit"], "100");
  shown = in_force({"--data-path", sets() / "train"});
  EXPECT_EQ(shown["data-path"], sets() / "train");
  EXPECT_EQ(shown["eval-data-path"], "");
}

TEST_F(TrainCommandTest, TheDefaultMicroBatchFitsTheBatchSize) {
  for (const auto& [batch, micro_batch] : std::map<int, std::string>{
           {2, "2"}, {32, "32"}, {96, "96"}, {128, "128"}, {192, "96"}, {256, "128"}, {1000, "100"}, {1024, "128"}}) {
    const Arguments given = {"--batch-size", std::to_string(batch)};
    EXPECT_EQ(in_force(given)["micro-batch"], micro_batch) << batch;
    EXPECT_EQ(refusal(given, 1), "") << batch;
  }
  EXPECT_EQ(in_force({"--batch-size", "32", "--micro-batch", "8"})["micro-batch"], "8");
  EXPECT_CONTAINS(refusal({"--batch-size", "262"}, 1), "--batch-size 262 is not a multiple of --micro-batch 128");
  EXPECT_CONTAINS(refusal({"--batch-size", "262"}, 1), "--batch-size 384");
  EXPECT_CONTAINS(refusal({"--batch-size", "0"}, 1), "--batch-size 0");
  EXPECT_CONTAINS(refusal({"--micro-batch", "-1"}, 1), "--micro-batch -1");
}

// All suggested values must work; the difference to the official code's batch size is explained first.
TEST_F(TrainCommandTest, MoreRanksThanMicroBatchesGiveAnErrorThatExplainsTheBatchSize) {
  for (const auto& [batch, ranks] : std::vector<std::pair<int, int>>{{128, 2}, {32, 2}, {256, 3}, {96, 6}, {2, 4}}) {
    const std::string message = refusal({"--batch-size", std::to_string(batch)}, ranks);
    EXPECT_CONTAINS(message, "--batch-size counts the images of all ranks (in the official code those of each)");
    const std::regex offer("--batch-size ([0-9]+) --micro-batch ([0-9]+)"), most("start at most ([0-9]+)");
    const std::string hint = message.substr(message.find("; "));
    int offers = 0;
    for (auto match = std::sregex_iterator(hint.begin(), hint.end(), offer); match != std::sregex_iterator(); ++match) {
      EXPECT_EQ(refusal({"--batch-size", (*match)[1], "--micro-batch", (*match)[2]}, ranks), "") << message;
      ++offers;
    }
    EXPECT_EQ(offers, batch >= 2 * ranks ? 2 : 1) << message;
    std::smatch number;
    ASSERT_TRUE(std::regex_search(hint, number, most)) << message;
    EXPECT_EQ(refusal({"--batch-size", std::to_string(batch)}, std::stoi(number[1])), "") << message;
  }
}

// As described in README.md: options that would make another run are refused on resume, options about where and how to
// run are free, and changes of all others are reported.
TEST_F(TrainCommandTest, EveryOptionIsFixedReportedOrFreeOnResume) {
  const std::set<std::string> fixed = {"batch-size",      "micro-batch", "model-ema-decay", "precision", "repeats",
                                       "repeat-locality", "seed"};
  const std::set<std::string> free = {"model",
                                      "num-classes",
                                      "input-size",
                                      "patch-size",
                                      "width",
                                      "depth",
                                      "heads",
                                      "distilled",
                                      "layer-scale",
                                      "position-on-class-token",
                                      "teacher-model",
                                      "teacher-path",
                                      "data-path",
                                      "eval-data-path",
                                      "ignore-class-names",
                                      "finetune",
                                      "cuda-graph",
                                      "reinit-head",
                                      "stage-to",
                                      "stage-leave-free",
                                      "on-bad-record",
                                      "bad-records-limit",
                                      "workers",
                                      "prefetch",
                                      "threads",
                                      "device",
                                      "output-dir",
                                      "resume",
                                      "eval-batch",
                                      "keep-checkpoints",
                                      "checkpoint-steps",
                                      "checkpoint-minutes",
                                      "checkpoint-file-mb",
                                      "max-checkpoint-age",
                                      "stop-after-steps",
                                      "time-limit",
                                      "hang-timeout"};
  const std::set<std::string> reported = {"crop-min-area",
                                          "crop-max-area",
                                          "train-interpolation",
                                          "flip",
                                          "aa",
                                          "three-augment",
                                          "color-jitter",
                                          "erasing",
                                          "erasing-mode",
                                          "erasing-count",
                                          "eval-crop",
                                          "mixup",
                                          "cutmix",
                                          "cutmix-minmax",
                                          "mixup-prob",
                                          "mixup-switch-prob",
                                          "mixup-mode",
                                          "smoothing",
                                          "augment-on",
                                          "keep",
                                          "mask-criterion",
                                          "keep-schedule",
                                          "keep-start",
                                          "distillation-type",
                                          "distillation-alpha",
                                          "distillation-tau",
                                          "epochs",
                                          "lr",
                                          "warmup-epochs",
                                          "warmup-lr",
                                          "min-lr",
                                          "lr-per-step",
                                          "weight-decay",
                                          "beta1",
                                          "beta2",
                                          "adam-epsilon",
                                          "clip-grad",
                                          "drop-path",
                                          "patch-drop",
                                          "deterministic",
                                          "reference-kernels"};
  RunState before;
  before.model = describe_model(VitOptions{});
  before.options = parse({}).texts;
  EXPECT_EQ(before.options.size(), fixed.size() + free.size() + reported.size());
  for (std::size_t i = 0; i < before.options.size(); ++i) {
    const std::string& name = before.options[i].name;
    RunState now = before;
    now.options[i].text = "another";
    std::string refused, report;
    try {
      for (const std::string& line : compare_runs(before, now)) {
        report += line;
      }
    } catch (const Error& error) {
      refused = error.what();
    }
    const std::string change = fmt::format("{} to another", before.options[i].text);
    EXPECT_EQ(refused.find("--" + name + " ") != std::string::npos, fixed.count(name) == 1) << name << ": " << refused;
    EXPECT_EQ(report, reported.count(name) == 1 ? fmt::format("--{} changes from {}", name, change) : "");
    EXPECT_EQ(fixed.count(name) + free.count(name) + reported.count(name), 1U) << name;
  }
}

TEST_F(TrainCommandTest, PatchesAreDroppedAlikeOnAnyNumberOfRanksAndNotWithATeacher) {
  std::vector<fs::path> runs;
  for (const int ranks : {1, 2}) {
    runs.push_back(place->path() / fmt::format("dropping-{}", ranks));
    const ProcessResult result =
        run_process(on_ranks(ranks, "maskedkd_train", teacher_arguments(sets(), runs.back(), {"--patch-drop", "0.9"})));
    ASSERT_EQ(result.exit_code, 0) << result.output;
  }
  expect_same_run(runs[0], runs[1], 2);
  EXPECT_CONTAINS(refusal({"--patch-drop", "1"}, 1), "--patch-drop 1 must lie in [0, 1)");
  try {
    parse({"--teacher-path", "x", "--patch-drop", "0.5"}).train.validate(1);
    FAIL() << "a teacher and dropped patches";
  } catch (const Error& error) {
    EXPECT_CONTAINS(error.what(), "--patch-drop 0.5 is given with a teacher");
  }
}

TEST_F(TrainCommandTest, APlanShowsTheResolvedThreadsWorkersAndDevice) {
  const fs::path run = place->path() / "run";
  const ProcessResult result =
      run_process(on_ranks(2, "maskedkd_train",
                           teacher_arguments(sets(), run,
                                             {"--threads", "0", "--workers", "0", "--prefetch", "0", "--device", "auto",
                                              "--stop-after-steps", "1", "--repeats", "3"})));
  ASSERT_EQ(result.exit_code, 85) << result.output;
  for (const char* idle : {" threads=0 ", " workers=0 ", " prefetch=0 ", " device=auto "}) {
    EXPECT_EQ(result.output.find(idle), std::string::npos) << idle << result.output;
  }
  EXPECT_CONTAINS(result.output, " prefetch=6 ");  // of two micro-batches of a step, and four
  const fs::path state = run / "checkpoints" / "step-000000001" / "state.json";
  const auto options = nlohmann::json::parse(file_bytes(state)).at("options");
  for (const char* name : {"threads", "workers", "device", "prefetch", "eval-data-path", "num-classes"}) {
    EXPECT_CONTAINS(result.output, fmt::format(" {}={}", name, options.at(name).get<std::string>()));
  }
}

}  // namespace
}  // namespace maskedkd::testing
