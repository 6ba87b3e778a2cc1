// Attention resampled from the student's grid to the teacher's, compared with PyTorch's antialiased bilinear
// interpolation (which reference.py compares with its definition) and with the positions of the patches.
#include "maskedkd/distill/patch_selection.hpp"
#include "maskedkd/io/safetensors.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>

namespace maskedkd::testing {
namespace {

const std::filesystem::path kReference = MASKEDKD_REFERENCE_DIR;

TEST(ResampleAttention, EqualsPyTorchs) {
  std::ifstream stream(kReference / "distill.json");
  const auto grids = nlohmann::json::parse(stream).at("grids");
  const auto tensors = read_safetensors(kReference / "distill.safetensors").tensors;
  ASSERT_GE(grids.size(), 7U);
  for (const auto& grid : grids) {
    const std::int64_t source = grid[0], target = grid[1];
    const std::string name = "grid" + std::to_string(source) + "to" + std::to_string(target);
    const at::Tensor wanted = tensors.at(name + ".resampled");
    const at::Tensor found =
        resample_attention(tensors.at(name + ".attention").clone().requires_grad_(), source, target);
    ASSERT_EQ(found.sizes(), wanted.sizes());
    EXPECT_FALSE(found.requires_grad());
    EXPECT_LT((found - wanted).abs().max().item<double>(), 1e-6 * wanted.max().item<double>()) << name;
  }
}

TEST(ResampleAttention, EqualGridsReturnTheSameTensor) {
  const at::Tensor attention = at::rand({2, 196});
  EXPECT_TRUE(resample_attention(attention, 14, 14).is_same(attention));
}

TEST(ResampleAttention, AConstantStaysConstant) {
  for (const auto& [source, target] : std::vector<std::pair<int, int>>{{14, 16}, {14, 24}, {24, 14}, {16, 14}}) {
    const at::Tensor found = resample_attention(at::full({2, source * source}, 0.005), source, target);
    EXPECT_LT((found - 0.005).abs().max().item<double>(), 1e-8) << source << " to " << target;
  }
}

// One patch of the student has all attention: the hottest patch of the teacher overlaps it, no patch without overlap is
// as hot, and no patch is warm that lies further away than one patch of the larger grid. Positions are fractions of the
// image's edge.
TEST(ResampleAttention, AHotPatchLandsWhereItsPixelsAre) {
  for (const auto& [source, target] : std::vector<std::pair<int, int>>{{14, 16}, {14, 24}, {24, 14}, {16, 14}}) {
    for (const auto& [row, column] : std::vector<std::pair<int, int>>{{0, 0}, {0, 5}, {3, 11}, {9, 2}, {13, 13}}) {
      SCOPED_TRACE(::testing::Message() << source << " to " << target << ": " << row << ", " << column);
      const at::Tensor attention = at::zeros({1, source * source});
      attention[0][row * source + column] = 1;
      const at::Tensor found = resample_attention(attention, source, target)[0];
      const std::int64_t hottest = found.argmax().item<std::int64_t>();
      const double reach = 1.0 / std::min(source, target);
      const auto gap = [&, &from = source, &to = target](std::int64_t theirs, std::int64_t ours) {
        // distance between the intervals of the two patches along one axis; negative if they overlap
        return std::max(static_cast<double>(theirs) / to - static_cast<double>(ours + 1) / from,
                        static_cast<double>(ours) / from - static_cast<double>(theirs + 1) / to);
      };
      EXPECT_LT(gap(hottest / target, row), 0);
      EXPECT_LT(gap(hottest % target, column), 0);
      for (std::int64_t patch = 0; patch < found.size(0); ++patch) {
        const double away = std::max(gap(patch / target, row), gap(patch % target, column));
        const double heat = found[patch].item<double>();
        if (away >= reach) {
          EXPECT_EQ(heat, 0) << patch;
        }

        if (away >= 0) {
          EXPECT_LT(heat, found[hottest].item<double>()) << patch;
        }
      }
    }
  }
}

}  // namespace
}  // namespace maskedkd::testing
