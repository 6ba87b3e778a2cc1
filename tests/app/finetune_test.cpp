// A student that starts from other weights: a head of other classes, NaN in the weights, a teacher that does not fit.
#include "app/small_run.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "support/temporary_directory.hpp"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <limits>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

class Finetune : public ::testing::Test {
 protected:
  void SetUp() override {
    pack_images(data_, 64, 4);
    pack_images(other_data_, 64, 3);
    const ProcessResult trained = run_process(on_ranks(1, "maskedkd_train", teacher_arguments(other_data_, start_)));
    ASSERT_EQ(trained.exit_code, 0) << trained.output;
  }

  ProcessResult finetune(const fs::path& weights, const Arguments& more) {
    Arguments arguments = {"--finetune", weights};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_process(
        on_ranks(2, "maskedkd_train", teacher_arguments(data_, place_.path() / std::to_string(++runs_), arguments)));
  }
  static std::size_t count(const std::string& text, const std::string& part) {
    std::size_t number = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
      ++number;
    }
    return number;
  }

  const TemporaryDirectory place_;
  const fs::path data_ = place_.path() / "data", other_data_ = place_.path() / "other",
                 start_ = place_.path() / "start";
  int runs_ = 0;
};

TEST_F(Finetune, AHeadOfOtherClassesIsInitialisedOnlyOnRequest) {
  ProcessResult result = finetune(start_, {});
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_EQ(count(result.output, "it has 3 classes, the model 4"), 1U) << result.output;
  EXPECT_EQ(count(result.output, "--reinit-head"), 1U) << result.output;
  EXPECT_FALSE(fs::exists(place_.path() / "1" / "checkpoints"));

  result = finetune(start_, {"--reinit-head"});
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(count(result.output, "the head is new"), 1U) << result.output;  // by one of the two ranks

  const Arguments without_weights = teacher_arguments(data_, place_.path() / "none", {"--reinit-head"});
  result = run_process(on_ranks(1, "maskedkd_train", without_weights));
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_EQ(count(result.output, "--reinit-head is given without --finetune"), 1U) << result.output;
}

TEST_F(Finetune, NanInTheWeightsIsReportedByName) {
  const fs::path best = fs::canonical(start_ / "checkpoints") / "step-000000002" / "model.safetensors";
  const SafetensorsFile file = read_safetensors(best);
  NamedTensors tensors(file.tensors.begin(), file.tensors.end());
  for (auto& [name, tensor] : tensors) {
    if (name == "blocks.1.mlp.fc2.weight") {
      tensor = tensor.clone();
      tensor[1][2] = std::numeric_limits<float>::quiet_NaN();
    }
  }
  const fs::path damaged = place_.path() / "nan.safetensors";
  write_safetensors(damaged, tensors);
  const ProcessResult result = finetune(damaged, {"--reinit-head"});
  EXPECT_EQ(count(result.output, "blocks.1.mlp.fc2.weight holds NaN or infinity"), 1U) << result.output;
  EXPECT_EQ(result.exit_code, 93) << result.output;  // the loss is not finite
}

}  // namespace
}  // namespace maskedkd::testing
