#include "app/small_run.hpp"
#include "maskedkd/shards/shard_reader.hpp"
#include "support/temporary_directory.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

nlohmann::json without_speed(const fs::path& figures) {
  nlohmann::json json = nlohmann::json::parse(file_bytes(figures));
  json.erase("images_per_second");
  return json;
}

// 203 images: the last batch is short, and no number of ranks divides the batches.
TEST(Evaluate, EveryImageIsEvaluatedOnceOnAnyNumberOfRanksAsByTimm) {
  const TemporaryDirectory place;
  const fs::path data = place.path() / "data", test = place.path() / "test", run = place.path() / "run";
  pack_images(data, 256);
  pack_images(test, 203);
  const ProcessResult trained = run_process(on_ranks(
      2, "maskedkd_train",
      teacher_arguments(data, run,
                        {"--eval-data-path", test, "--epochs", "3", "--eval-batch", "16", "--eval-crop", "0.8"})));
  ASSERT_EQ(trained.exit_code, 0) << trained.output;

  const auto evaluate = [&](int ranks, const Arguments& more = {}) {
    const fs::path figures = place.path() / ("figures-" + std::to_string(ranks));
    Arguments arguments = {"--data-path", test,        "--weights", run,         "--output", figures,        "--device",
                           "cpu",         "--threads", "1",         "--workers", "1",        "--eval-batch", "16"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = run_process(on_ranks(ranks, "maskedkd_evaluate", arguments));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return without_speed(figures);
  };
  const nlohmann::json one = evaluate(1);
  EXPECT_EQ(one["num_images"], 203);
  EXPECT_EQ(one, evaluate(2));
  EXPECT_EQ(one, evaluate(3));
  EXPECT_EQ(one, evaluate(4, {"--masks", place.path() / "masks.png", "--mask-images", "5"}));
  EXPECT_EQ(file_bytes(place.path() / "masks.png").substr(1, 3), "PNG");

  // The trainer's log has the same figures for the best epoch, with the options of the run.
  EXPECT_EQ(one["eval_crop"], 0.8);
  double best = 0;
  std::istringstream log(log_without_times(run));
  for (std::string line; std::getline(log, line);) {
    best = std::max(best, nlohmann::json::parse(line)["test_acc1"].get<double>());
  }
  EXPECT_EQ(one["test_acc1"].get<double>(), best);
  EXPECT_GT(best, 30.0);  // a quarter would be chance

  const ProcessResult python =
      run_process({MASKEDKD_PYTHON, std::string(MASKEDKD_SOURCE_DIR) + "/tests/app/evaluate.py", test,
                   run / "checkpoints" / "best"});
  ASSERT_EQ(python.exit_code, 0) << python.output;
  const nlohmann::json expected = nlohmann::json::parse(python.output);
  EXPECT_DOUBLE_EQ(one["test_acc1"].get<double>(), expected["test_acc1"].get<double>());
  EXPECT_NEAR(one["test_loss"].get<double>(), expected["test_loss"].get<double>(), 1e-5);
}

TEST(Evaluate, ACheckpointHasTheFiguresOfTheRunsLog) {
  const TemporaryDirectory place;
  const fs::path data = place.path() / "data", test = place.path() / "test", figures = place.path() / "figures";
  pack_images(data, 128);
  pack_images(test, 203);
  for (const std::string precision : {"bf16", "fp32"}) {
    const fs::path run = place.path() / precision;
    const ProcessResult trained = run_process(on_ranks(
        2, "maskedkd_train",
        teacher_arguments(data, run,
                          {"--eval-data-path", test, "--epochs", "2", "--eval-batch", "50", "--eval-crop", "0.7",
                           "--precision", precision, "--model-ema-decay", "0.5", "--keep-checkpoints", "9"})));
    ASSERT_EQ(trained.exit_code, 0) << trained.output;
    std::istringstream log(log_without_times(run));
    int step = 0;
    for (std::string text; std::getline(log, text);) {
      const nlohmann::json line = nlohmann::json::parse(text);
      step += 4;
      const fs::path checkpoint = run / "checkpoints" / fmt::format("step-{:09}-evaluated", step);
      const auto evaluate = [&](const Arguments& more) {
        Arguments arguments = {"--data-path", test,  "--weights", checkpoint, "--output",  figures,
                               "--device",    "cpu", "--threads", "1",        "--workers", "1"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        const ProcessResult result = run_process(on_ranks(1, "maskedkd_evaluate", arguments));
        EXPECT_EQ(result.exit_code, 0) << result.output;
        EXPECT_NE(result.output.find("crop 0.7, " + precision + ", acc@1"), std::string::npos) << result.output;
        return without_speed(figures);
      };
      const nlohmann::json trained_weights = evaluate({});
      EXPECT_EQ(trained_weights["precision"], precision);
      for (const char* key : {"test_acc1", "test_acc5"}) {
        EXPECT_EQ(trained_weights[key], line[key]) << key << " in " << precision;
      }
      // The trainer's weights lie in one block of memory, where fp32 products may round differently; another precision
      // would differ a thousand times as much.
      EXPECT_NEAR(trained_weights["test_loss"].get<double>(), line["test_loss"].get<double>(), 1e-8) << precision;
      const nlohmann::json average = evaluate({"--ema"});
      EXPECT_EQ(average["test_acc1"], line["test_ema_acc1"]) << precision;
      EXPECT_EQ(average["test_acc5"], line["test_ema_acc5"]) << precision;
    }
    EXPECT_EQ(step, 8);
  }
}

// Labels stay the same; a teacher may have more classes too if its student has as many.
TEST(Evaluate, AModelMayHaveMoreClassesThanTheSet) {
  const TemporaryDirectory place;
  const fs::path data = place.path() / "data", teacher = place.path() / "teacher", student = place.path() / "student",
                 figures = place.path() / "figures";
  pack_images(data, 128);
  pack_images(place.path() / "seven", 128, 7);
  ProcessResult result = run_process(
      on_ranks(2, "maskedkd_train",
               teacher_arguments(data, teacher, {"--num-classes", "6", "--epochs", "4", "--eval-data-path", data})));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  result = run_process(on_ranks(1, "maskedkd_train",
                                student_arguments(data, teacher, student, {"--num-classes", "6", "--epochs", "1"})));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  result = run_process(
      on_ranks(1, "maskedkd_train",
               teacher_arguments(data, place.path() / "tuned", {"--num-classes", "6", "--finetune", teacher})));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  result = run_process(on_ranks(1, "maskedkd_train", student_arguments(data, teacher, place.path() / "other")));
  EXPECT_EQ(result.exit_code, 2) << "the student has 4 classes" << result.output;

  const auto evaluate = [&](const fs::path& set, const Arguments& more) {
    Arguments arguments = {"--data-path", set, "--weights", teacher, "--output", figures, "--device", "cpu"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_process(on_ranks(1, "maskedkd_evaluate", arguments));
  };
  result = evaluate(data, {});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const ProcessResult python =
      run_process({MASKEDKD_PYTHON, std::string(MASKEDKD_SOURCE_DIR) + "/tests/app/evaluate.py", data,
                   teacher / "checkpoints" / "best"});
  ASSERT_EQ(python.exit_code, 0) << python.output;
  const nlohmann::json expected = nlohmann::json::parse(python.output), found = without_speed(figures);
  EXPECT_DOUBLE_EQ(found["test_acc1"].get<double>(), expected["test_acc1"].get<double>());
  EXPECT_NEAR(found["test_loss"].get<double>(), expected["test_loss"].get<double>(), 1e-5);

  result = evaluate(data, {"--num-classes", "5"});
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find("has 6 classes"), std::string::npos) << result.output;
  result = evaluate(place.path() / "seven", {});
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find("7 classes, the model 6"), std::string::npos) << result.output;
}

// The most probable class of each extracted image is right as often as the accuracy of the whole set says.
TEST(Evaluate, SingleImagesGetTheAnswersOfTheEvaluation) {
  constexpr int kImages = 41;
  const std::vector<std::string> names = {"north", "east", "south", "west"};
  const TemporaryDirectory place;
  const fs::path data = place.path() / "data", test = place.path() / "test", run = place.path() / "run",
                 figures = place.path() / "figures", picture = place.path() / "seen.png";
  pack_images(data, 256, 4, "north,east,south,west");
  pack_images(test, kImages, 4, "north,east,south,west");
  ASSERT_EQ(run_process(on_ranks(1, "maskedkd_train", teacher_arguments(data, run, {"--epochs", "2"}))).exit_code, 0);
  const auto evaluate = [&](Arguments more) {
    more.insert(more.begin(), {"--weights", run, "--device", "cpu", "--threads", "1"});
    return run_process(on_ranks(1, "maskedkd_evaluate", more));
  };
  ASSERT_EQ(evaluate({"--data-path", test, "--output", figures}).exit_code, 0);

  Arguments images = {"--image"};
  for (int i = 0; i < kImages; ++i) {
    images.push_back(place.path() / fmt::format("image {}.png", i));
    const ProcessResult extracted = run_process({std::string(MASKEDKD_BIN_DIR) + "/maskedkd_pack", "extract", test,
                                                 "--index", std::to_string(i), "--output", images.back()});
    ASSERT_EQ(extracted.exit_code, 0) << extracted.output;
  }
  images.insert(images.end(), {"--masks", picture});
  const ProcessResult answered = evaluate(images);
  ASSERT_EQ(answered.exit_code, 0) << answered.output;
  EXPECT_EQ(file_bytes(picture).substr(1, 3), "PNG");
  const ShardSet set(test);
  int num_right = 0;
  std::istringstream lines(answered.output);
  int image = -1;
  double last_share = 0, total = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("/")) {
      ++image;
      EXPECT_EQ(line, images[static_cast<std::size_t>(image) + 1]);
      last_share = 100;
      total = 0;
    } else if (const auto at = line.find(" %  "); image >= 0 && at != std::string::npos) {
      const double share = std::stod(line);
      const std::string name = line.substr(at + 4);
      EXPECT_LE(share, last_share) << line;
      EXPECT_TRUE(std::find(names.begin(), names.end(), name) != names.end()) << line;
      num_right += total == 0 && name == names[static_cast<std::size_t>(set.read(image).label)] ? 1 : 0;
      last_share = share;
      total += share;
    }
  }
  EXPECT_EQ(image, kImages - 1) << answered.output;
  EXPECT_NEAR(total, 100, 0.05);
  EXPECT_NEAR(100.0 * num_right / kImages, nlohmann::json::parse(file_bytes(figures))["test_acc1"].get<double>(), 1e-9);
}

TEST(Evaluate, ImagesThatCanNotBeAnsweredAreRefused) {
  const TemporaryDirectory place;
  const fs::path data = place.path() / "data", run = place.path() / "run", text = place.path() / "text.jpg";
  pack_images(data, 256);
  ASSERT_EQ(run_process(on_ranks(1, "maskedkd_train", teacher_arguments(data, run))).exit_code, 0);
  std::ofstream(text) << "no image";
  Arguments many = {"--image"};
  many.insert(many.end(), 257, text);
  const std::vector<std::pair<Arguments, std::string>> refused = {
      {many, "--image: 257 files are more than 256"},
      {{}, "--data-path is missing"},
      {{"--image"}, "--image has no value"},
      {{"--image", place.path() / "missing.png"}, "missing.png"},
      {{"--image", text}, "text.jpg"},
      {{"--image", text, "--data-path", data}, "--data-path is given with --image"},
      {{"--image", text, "--output", place.path() / "x"}, "--output is given with --image"}};
  for (const auto& [arguments, message] : refused) {
    Arguments all = {"--weights", run, "--device", "cpu"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const ProcessResult result = run_process(on_ranks(1, "maskedkd_evaluate", all));
    EXPECT_NE(result.exit_code, 0) << message;
    EXPECT_NE(result.output.find(message), std::string::npos) << result.output;
  }
}

}  // namespace
}  // namespace maskedkd::testing
