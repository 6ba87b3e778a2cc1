// A run that is resumed on another number of ranks, which need not divide the six micro-batches of a step. Weights have
// the same bits on 1, 2 and 4 ranks, and differ by rounding on other numbers.
#include "app/training_run.hpp"
#include "maskedkd/checkpoint/checkpoint.hpp"

#include <ATen/TensorOperators.h>

#include <cstdio>
#include <cstdlib>
#include <set>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

// 5 steps of 6 micro-batches per epoch.
const Arguments kSix = {"--batch-size", "48", "--epochs", "2"};

class Elastic : public TrainingRun {};

double largest_difference(const fs::path& one, const fs::path& other) {
  const auto a = load_checkpoint(one).groups.at("model"), b = load_checkpoint(other).groups.at("model");
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (const auto& [name, tensor] : a) {
    largest = std::max(largest, (tensor - b.at(name)).abs().max().item<double>());
  }
  return largest;
}

// Resumes on other numbers of ranks; MASKEDKD_RANK_PAIRS=all tries all 25 pairs.
TEST_F(Elastic, ARunMayBeResumedOnAnotherNumberOfRanks) {
  const fs::path expected = undisturbed("six", kSix);
  const fs::path last = fs::path("checkpoints") / "step-000000010";
  const char* text = std::getenv("MASKEDKD_RANK_PAIRS");
  const bool all = text != nullptr && std::string(text) == "all";
  const std::set<std::pair<int, int>> some = {{1, 6}, {6, 2}, {3, 4}, {4, 1}, {2, 4}};
  const std::set<int> powers = {1, 2, 4};
  int pairs = 0, same_bits = 0;
  double largest = 0;
  for (const int before : {1, 2, 3, 4, 6}) {
    for (const int after : {1, 2, 3, 4, 6}) {
      if (!all && some.count({before, after}) == 0) {
        continue;
      }
      const std::string name = std::to_string(before) + "-then-" + std::to_string(after);
      Arguments stop = kSix;
      stop.insert(stop.end(), {"--stop-after-steps", "7"});  // in the second epoch
      const ProcessResult stopped = train(before, name, stop);
      ASSERT_EQ(stopped.exit_code, 85) << stopped.output;
      const ProcessResult finished = train(after, name, kSix);
      ASSERT_EQ(finished.exit_code, 0) << finished.output;
      ++pairs;
      if (powers.count(before) + powers.count(after) == 2) {
        expect_same_run(expected, run_folder(name), 10);
        ++same_bits;
      } else {
        // Other samples, crops, masks or drop paths would change weights by a step's size, 1e-3 and more.
        const double difference = largest_difference(expected / last, run_folder(name) / last);
        EXPECT_LT(difference, 2e-5) << name;
        largest = std::max(largest, difference);
      }
      fs::remove_all(run_folder(name));
    }
  }
  std::printf("%d pairs, %d of them with the same bits; elsewhere weights differ by at most %.1e\n", pairs, same_bits,
              largest);
  EXPECT_GE(pairs, 5);
}

TEST_F(Elastic, MoreRanksThanMicroBatchesAreRefused) {
  const ProcessResult refused = train(7, "seven", kSix);
  EXPECT_EQ(refused.exit_code, 2) << refused.output;
  EXPECT_NE(refused.output.find("7 ranks are more than the 6 micro-batches"), std::string::npos) << refused.output;
}

}  // namespace
}  // namespace maskedkd::testing
