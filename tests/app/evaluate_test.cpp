#include "app/small_run.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <sstream>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

nlohmann::json without_speed(const fs::path& figures) {
  nlohmann::json json = nlohmann::json::parse(file_bytes(figures));
  json.erase("images_per_second");
  return json;
}

// 203 images: the last batch is short, and no rank count divides the batches.
TEST(Evaluate, EveryImageOnceOnAnyRanksAsTimmSeesThem) {
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

  // What the trainer wrote into its log for the best epoch: evaluated as the run evaluated.
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

}  // namespace
}  // namespace maskedkd::testing
