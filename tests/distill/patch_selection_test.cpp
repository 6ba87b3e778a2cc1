// Compares the kept patches with torch.topk in Python, and checks that incompatible pairs of models are refused.
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

// The message of a usage error: one line, with a non-empty hint; "" if there is none.
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
    // a strided view, and a tensor that requires gradients, give the same selection
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

TEST(CheckCompatible, RefusesOtherClassesAndKeepCountsOfNoTeacher) {
  const VitOptions student = find_model("deit_tiny_patch16_224"), teacher = find_model("deit3_small");
  const auto refused = [&](const VitOptions& other, const MaskOptions& mask) {
    return refusal([&] { check_compatible(student, other, mask, 10); });
  };
  MaskOptions mask;
  EXPECT_EQ(refused(teacher, mask), "");
  VitOptions other = teacher;
  other.num_classes = 10;
  const std::string message = refused(other, mask);
  EXPECT_TRUE(contains(message, "1000") && contains(message, "10")) << message;

  for (const char* name : {"deit3_huge", "deit_base_patch16_384"}) {  // other patches or input size: resampled
    EXPECT_EQ(refused(find_model(name), mask), "") << name;
  }
  mask.keep = KeepCount::patches(197);
  EXPECT_TRUE(contains(refused(teacher, mask), "--keep 197 is outside 1..196"));
  EXPECT_EQ(refused(find_model("deit3_huge"), mask), "");  // it has 256 patches
  mask = {};
  mask.schedule = KeepSchedule::linear;
  mask.keep_start = KeepCount::patches(200);
  EXPECT_TRUE(contains(refused(teacher, mask), "--keep-start 200 is outside 1..196"));
  EXPECT_EQ(refused(find_model("deit3_huge"), mask), "");
}

}  // namespace
}  // namespace maskedkd::testing
