// The kept patches are those of torch.topk in Python, and a pair of models that can't share them is refused.
#include "maskedkd/distill/patch_selection.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/model/registry.hpp"

#include <ATen/ops/rand.h>
#include <ATen/ops/sort.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <functional>
#include <string>

namespace maskedkd::testing {
namespace {

const std::filesystem::path kReference = MASKEDKD_REFERENCE_DIR;

at::Tensor in_order(const at::Tensor& indices) { return std::get<0>(indices.sort(1)); }

// The message of a refusal as bad use: one line, with a non-empty reason; "" where nothing is refused.
std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_EQ((error.what() + error.hint()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  return {};
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(SelectPatches, AreTheLargestK) {
  std::ifstream stream(kReference / "distill.json");
  const auto selections = nlohmann::json::parse(stream).at("selections");
  const auto tensors = read_safetensors(kReference / "distill.safetensors").tensors;
  ASSERT_GE(selections.size(), 7U);
  for (std::size_t i = 0; i < selections.size(); ++i) {
    const std::string prefix = "select" + std::to_string(i) + ".";
    const at::Tensor attention = tensors.at(prefix + "attention");
    const at::Tensor kept = select_patches(attention, selections[i]);
    EXPECT_EQ(kept.scalar_type(), at::kLong);
    EXPECT_TRUE(in_order(kept).equal(in_order(tensors.at(prefix + "kept")))) << i;
    // a view with strides, and one that wants a gradient, choose the same
    const at::Tensor strided = attention.t().contiguous().t().requires_grad_();
    EXPECT_TRUE(in_order(select_patches(strided, selections[i])).equal(in_order(kept))) << i;
  }
}

TEST(SelectPatches, RefusesKeepCountsOutside) {
  const at::Tensor attention = at::rand({2, 49});
  for (const std::int64_t keep : {1, 49}) {
    EXPECT_EQ(refusal([&] { select_patches(attention, keep); }), "");
  }
  for (const std::int64_t keep : {0, -1, 50, 1000}) {
    const std::string message = refusal([&] { select_patches(attention, keep); });
    EXPECT_TRUE(contains(message, std::to_string(keep)) && contains(message, "1..49")) << message;
  }
}

TEST(CheckCompatible, RefusesOtherClassesGridsAndKeepCounts) {
  const VitOptions student = find_model("deit_tiny_patch16_224"), teacher = find_model("deit3_small");
  EXPECT_EQ(refusal([&] { check_compatible(student, teacher, 98); }), "");
  EXPECT_EQ(refusal([&] { check_compatible(student, teacher, 196); }), "");
  EXPECT_TRUE(contains(refusal([&] { check_compatible(student, teacher, 197); }), "197 is outside 1..196"));
  EXPECT_TRUE(contains(refusal([&] { check_compatible(student, teacher, 0); }), "0 is outside 1..196"));

  VitOptions other = teacher;
  other.num_classes = 10;
  std::string message = refusal([&] { check_compatible(student, other, 98); });
  EXPECT_TRUE(contains(message, "1000") && contains(message, "10")) << message;

  message = refusal([&] { check_compatible(student, find_model("deit3_huge"), 98); });  // 16 x 16 patches of 14
  EXPECT_TRUE(contains(message, "14 x 14") && contains(message, "16 x 16")) << message;
  message = refusal([&] { check_compatible(find_model("deit_base_patch16_384"), teacher, 98); });
  EXPECT_TRUE(contains(message, "384") && contains(message, "224")) << message;
  // as many patches, of other pixels: the teacher could not take the student's images
  other = teacher;
  other.input_size = 112;
  other.patch_size = 8;
  message = refusal([&] { check_compatible(student, other, 98); });
  EXPECT_TRUE(contains(message, "112")) << message;
}

}  // namespace
}  // namespace maskedkd::testing
