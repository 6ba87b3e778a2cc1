#include "maskedkd/train/memory_hint.hpp"

#include "maskedkd/checkpoint/run_layout.hpp"
#include "support/contains.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <filesystem>

namespace maskedkd {
namespace {

TrainOptions options_of(std::int64_t batch, std::int64_t micro_batch, bool mixes) {
  TrainOptions options;
  options.global_batch = static_cast<int>(batch);
  options.micro_batch = static_cast<int>(micro_batch);
  options.mixing.mixup_alpha = mixes ? 0.8 : 0;
  options.mixing.cutmix_alpha = 0;
  return options;
}

TEST(MemoryHint, SuggestsAMicroBatchThatTheOptionsAllow) {
  EXPECT_EQ(smaller_micro_batch(options_of(1024, 128, true)), 64);
  EXPECT_EQ(smaller_micro_batch(options_of(100, 50, false)), 25);
  EXPECT_EQ(smaller_micro_batch(options_of(100, 50, true)), 20) << "images are mixed in pairs";
  EXPECT_EQ(smaller_micro_batch(options_of(6, 2, true)), 0);
  EXPECT_EQ(smaller_micro_batch(options_of(6, 2, false)), 1);
  EXPECT_EQ(smaller_micro_batch(options_of(6, 1, false)), 0);
  for (int batch = 1; batch <= 60; ++batch) {
    for (int micro_batch = 1; micro_batch <= batch; ++micro_batch) {
      const int found = static_cast<int>(smaller_micro_batch(options_of(batch, micro_batch, true)));
      EXPECT_LE(found * 2, micro_batch);
      if (found > 0) {
        EXPECT_EQ(batch % found, 0);
        EXPECT_NO_THROW(options_of(batch, found, true).mixing.validate(found));
      }
    }
  }
}

TEST(MemoryHint, OfANewRunNamesTheMicroBatchOfAResumedOneDoesNot) {
  const testing::TemporaryDirectory folder;
  TrainOptions options = options_of(1024, 128, true);
  options.output_dir = folder.path();
  EXPECT_CONTAINS(memory_hint(options), "take --micro-batch 64 instead of 128");
  options.eval_data_path = "val";
  options.eval_batch = 256;
  EXPECT_CONTAINS(memory_hint(options), "take a smaller --eval-batch, or --micro-batch 64 instead of 128");
  std::filesystem::create_directories(folder.path() / kCheckpointsFolder / "step-000000005");
  EXPECT_CONTAINS(memory_hint(options),
                  "the run keeps its --micro-batch of 128: take a smaller --eval-batch, "
                  "--cuda-graph false, a GPU that no other program uses, "
                  "or another --output-dir with --micro-batch 64");
}

}  // namespace
}  // namespace maskedkd
