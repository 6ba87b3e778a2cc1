#include "maskedkd/data/mixing.hpp"
#include "augment/statistics.hpp"
#include "codecs/reference.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/kernels/prepare_batch.hpp"
#include "support/plain_preparation.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>

#include <array>
#include <tuple>

namespace maskedkd::testing {
namespace {

PhiloxStream stream(std::uint32_t number) {
  return PhiloxStream({23, RandomPurpose::mixing, number >> 16, number & 0xFFFF, 3, 0});
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a - b).abs().max().item<double>();
}

// [B, 6]: top, bottom, left, right, lambda, cut
MixPlan plan_of(const at::Tensor& samples) {
  MixPlan plan;
  const auto values = values_of<double>(samples);
  for (std::size_t i = 0; i < values.size(); i += 6) {
    const auto at = [&](std::size_t column) { return static_cast<int>(values[i + column]); };
    plan.samples.push_back({values[i + 4], at(5) != 0, {at(0), at(2), at(1) - at(0), at(3) - at(2)}});
  }
  return plan;
}

BatchInputs inputs_of(const at::Tensor& pixels, const at::Tensor& labels, const MixPlan& plan) {
  std::vector<int> boxes;
  for (const MixPlan::Sample& sample : plan.samples) {
    boxes.insert(boxes.end(), {sample.box.top, sample.box.left, sample.box.height, sample.box.width});
  }
  return {.pixels = pixels,
          .erasures = {},
          .image_shares = plain_shares(plan, /*of_labels=*/false, labels).contiguous(),
          .cut_boxes = at::tensor(boxes, at::kInt).view({-1, 4}),
          .labels = labels,
          .target_shares = plain_shares(plan, /*of_labels=*/true, labels).contiguous()};
}

TEST(Mixing, PlansAreAppliedAsTimmDoesInEveryMode) {
  const Tensors cases = reference("mixing.safetensors");
  const BatchPreparer preparer(at::kCPU);
  double images_error = 0, targets_error = 0;
  int num_cases = 0, num_cut = 0, num_mixed = 0;
  for (; cases.count(std::to_string(num_cases) + ".images") != 0; ++num_cases) {
    const std::string name = std::to_string(num_cases);
    const MixPlan plan = plan_of(cases.at(name + ".samples"));
    for (const auto& sample : plan.samples) {
      num_cut += sample.cut ? 1 : 0;
      num_mixed += !sample.cut && sample.lambda != 1 ? 1 : 0;
    }
    const at::Tensor &wanted_images = cases.at(name + ".mixed"), &wanted_targets = cases.at(name + ".targets");
    const auto options = values_of<double>(cases.at(name + ".options"));
    const at::Tensor images = at::empty_like(wanted_images), targets = at::empty_like(wanted_targets);
    preparer.prepare(inputs_of(cases.at(name + ".images"), cases.at(name + ".labels"), plan), options[1], images,
                     targets);
    images_error = std::max(images_error, largest_difference(images, wanted_images));
    targets_error = std::max(targets_error, largest_difference(targets, wanted_targets));
    EXPECT_LE((targets.sum(1) - 1.0).abs().max().item<double>(), 1e-5);
  }
  ASSERT_EQ(num_cases, 54);
  ASSERT_GT(num_cut, 20);
  ASSERT_GT(num_mixed, 20);
  std::printf("largest difference from timm: images %.1e, targets %.1e\n", images_error, targets_error);
  EXPECT_LE(images_error, 1e-6);
  EXPECT_LE(targets_error, 2e-7);
}

TEST(Mixing, LambdaIsBetaDistributed) {
  const Tensors draws = reference("mixing.safetensors");
  for (const double alpha : {0.2, 0.8, 1.0, 3.0}) {
    MixOptions options;
    options.mixup_alpha = alpha;
    options.cutmix_alpha = 0;
    std::vector<double> shares;
    for (std::uint32_t i = 0; i < 50000; ++i) {
      PhiloxStream random = stream(i);
      const MixPlan plan = draw_mix_plan(random, 2, 28, 28, options);
      ASSERT_FALSE(plan.samples[0].cut);
      shares.push_back(plan.samples[0].lambda);
    }
    EXPECT_LT(distance_of_samples(shares, values_of<double>(draws.at(fmt::format("beta.{:.1f}", alpha)))), 1) << alpha;
  }
}

// Compares boxes and lambdas of single samples with timm's draws [draw, 5]: top, left, height, width, lambda.
void compare_boxes(const MixOptions& options, int height, int width, const std::vector<double>& timm) {
  std::array<std::vector<double>, 5> columns, expected;
  for (std::uint32_t draw = 0; draw < 50000; ++draw) {
    PhiloxStream random = stream(draw);
    const auto sample = draw_mix_plan(random, 2, height, width, options).samples[1];
    ASSERT_TRUE(sample.cut);
    const PixelBox& box = sample.box;
    ASSERT_TRUE(box.top >= 0 && box.left >= 0 && box.top + box.height <= height && box.left + box.width <= width);
    EXPECT_DOUBLE_EQ(sample.lambda, 1.0 - double{1} * box.height * box.width / (double{1} * height * width));
    const std::array<double, 5> row = {double{1} * box.top, double{1} * box.left, double{1} * box.height,
                                       double{1} * box.width, sample.lambda};
    for (std::size_t column = 0; column < 5; ++column) {
      columns[column].push_back(row[column]);
    }
  }
  for (std::size_t k = 0; k < timm.size(); ++k) {
    expected[k % 5].push_back(timm[k]);
  }
  for (std::size_t column = 0; column < 5; ++column) {
    EXPECT_LT(distance_of_samples(columns[column], expected[column]), 1) << width << " x " << height << ", " << column;
  }
}

TEST(Mixing, CutMixBoxesAndTheirLambdaAreDistributedAsTimms) {
  const Tensors draws = reference("mixing.safetensors");
  for (int i = 0; i < 3; ++i) {
    const std::string name = "cutmix." + std::to_string(i);
    const auto shape = values_of<std::int64_t>(draws.at(name + ".shape"));
    MixOptions options;
    options.mixup_alpha = 0;
    compare_boxes(options, static_cast<int>(shape[0]), static_cast<int>(shape[1]),
                  values_of<double>(draws.at(name + ".draws")));
  }
}

TEST(Mixing, BoxesBetweenTwoSidesAreDistributedAsTimmsMinmax) {
  const Tensors draws = reference("mixing.safetensors");
  for (int i = 0; i < 3; ++i) {
    const std::string name = "minmax." + std::to_string(i);
    const auto shape = values_of<double>(draws.at(name + ".shape"));
    MixOptions options;
    options.mixup_alpha = options.cutmix_alpha = 0;
    options.cutmix_sides = CutMixSides{shape[2], shape[3]};
    EXPECT_TRUE(options.enabled());
    compare_boxes(options, static_cast<int>(shape[0]), static_cast<int>(shape[1]),
                  values_of<double>(draws.at(name + ".draws")));
  }
}

TEST(Mixing, EveryModeDrawsConsistentPlans) {
  for (const auto& [mode, num_independent, with_sides] : {std::tuple(MixMode::batch, 1, false),
                                                          {MixMode::pair, 4, false},
                                                          {MixMode::elem, 8, false},
                                                          {MixMode::batch, 1, true},
                                                          {MixMode::pair, 4, true},
                                                          {MixMode::elem, 8, true}}) {
    MixOptions options;
    options.mode = mode;
    options.probability = 0.7;
    options.switch_probability = 0.3;
    options.cutmix_sides = with_sides ? std::optional(CutMixSides{0.1, 0.9}) : std::nullopt;
    double mixed = 0, cut = 0;
    int num_all_different = 0;
    constexpr std::uint32_t kDraws = 20000;
    for (std::uint32_t draw = 0; draw < kDraws; ++draw) {
      PhiloxStream random = stream(draw);
      const auto samples = draw_mix_plan(random, 8, 28, 28, options).samples;
      ASSERT_EQ(samples.size(), 8u);
      std::vector<double> different;
      for (std::size_t i = 0; i < 8; ++i) {
        const auto& partner = samples[mode == MixMode::batch ? 0 : mode == MixMode::pair ? 7 - i : i];
        EXPECT_EQ(samples[i].lambda, partner.lambda);
        EXPECT_EQ(samples[i].cut, partner.cut);
        EXPECT_EQ(samples[i].box, partner.box);
        different.push_back(samples[i].lambda);
        const bool mixes = samples[i].cut || samples[i].lambda != 1;
        mixed += mixes ? 1.0 / (8 * kDraws) : 0;
        cut += samples[i].cut ? 1.0 / (8 * kDraws) : 0;
      }
      std::sort(different.begin(), different.end());
      num_all_different +=
          std::unique(different.begin(), different.end()) - different.begin() == num_independent ? 1 : 0;
    }
    EXPECT_NEAR(mixed, 0.7, 0.015);
    EXPECT_NEAR(cut, 0.7 * 0.3, 0.015);
    EXPECT_GT(num_all_different, static_cast<int>(mode == MixMode::batch ? kDraws - 1 : kDraws / 100));
  }
}

TEST(Mixing, WithoutMixingAPlanChangesNothing) {
  MixOptions options;
  options.mixup_alpha = options.cutmix_alpha = 0;
  EXPECT_FALSE(options.enabled());
  PhiloxStream random = stream(0);
  for (const MixPlan::Sample& sample : draw_mix_plan(random, 6, 28, 28, options).samples) {
    EXPECT_TRUE(!sample.cut && sample.lambda == 1);
  }
}

TEST(Mixing, TheSameStreamDrawsTheSamePlan) {
  for (std::uint32_t draw = 0; draw < 100; ++draw) {
    PhiloxStream one = stream(draw), two = stream(draw);
    const auto a = draw_mix_plan(one, 6, 224, 224, {}), b = draw_mix_plan(two, 6, 224, 224, {});
    EXPECT_EQ(a.samples[0].lambda, b.samples[0].lambda);
    EXPECT_EQ(a.samples[0].box, b.samples[0].box);
  }
}

TEST(Mixing, BadOptionsAreRefusedByName) {
  const auto refuses = [](auto change, int batch, const std::string& flag) {
    MixOptions options;
    change(options);
    try {
      options.validate(batch);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      EXPECT_NE(std::string(error.what()).find(flag), std::string::npos) << error.what();
      return true;
    }
    return false;
  };
  EXPECT_FALSE(refuses([](MixOptions&) {}, 2, ""));
  EXPECT_TRUE(refuses([](MixOptions&) {}, 7, "--micro-batch 7"));
  EXPECT_FALSE(refuses([](MixOptions& o) { o.mixup_alpha = o.cutmix_alpha = 0; }, 7, ""));
  EXPECT_FALSE(refuses([](MixOptions& o) { o.probability = 0; }, 7, ""));
  EXPECT_TRUE(refuses([](MixOptions& o) { o.mixup_alpha = -1; }, 2, "--mixup"));
  EXPECT_TRUE(refuses([](MixOptions& o) { o.cutmix_alpha = std::nan(""); }, 2, "--cutmix"));
  EXPECT_TRUE(refuses([](MixOptions& o) { o.label_smoothing = 1.5; }, 2, "--smoothing"));
  EXPECT_TRUE(refuses([](MixOptions& o) { o.switch_probability = 2; }, 2, "--mixup-switch-prob"));
  EXPECT_THROW(parse_mix_mode("half"), Error);
  EXPECT_EQ(parse_mix_mode("pair"), MixMode::pair);
  for (const char* text :
       {"0.8,0.2", "0.2", "0.2,", ",0.8", "0.2,0.8,0.9", "-0.1,0.5", "0.5,1.1", "nan,1", "", "0.5,0.5"}) {
    EXPECT_THROW(CutMixSides::parse(text), Error) << text;
  }
  EXPECT_FALSE(CutMixSides::parse("none"));
  EXPECT_EQ(CutMixSides::parse("0.2,0.8")->largest, 0.8);
}

}  // namespace
}  // namespace maskedkd::testing
