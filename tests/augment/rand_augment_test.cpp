#include "maskedkd/augment/rand_augment.hpp"
#include "codecs/reference.hpp"
#include "maskedkd/augment/augment.hpp"
#include "maskedkd/base/error.hpp"
#include "statistics.hpp"

#include <array>
#include <cmath>

namespace maskedkd::testing {
namespace {

PhiloxStream stream(std::uint32_t number) {
  return PhiloxStream({17, RandomPurpose::augmentation, number >> 16, 2, 1, number & 0xFFFF});
}

using Drawn = std::vector<std::vector<ImageOperation>>;  // one entry per image

Drawn drawn_by(const AugmentOptions& options, std::uint32_t count) {
  Drawn drawn;
  for (std::uint32_t i = 0; i < count; ++i) {
    PhiloxStream random = stream(i);
    drawn.push_back(draw_training_plan(random, 300, 400, options).operations);
  }
  return drawn;
}

// rows: [draw, 4]: image, kind, argument, bicubic.
Drawn drawn_by(const at::Tensor& rows) {
  const auto values = values_of<double>(rows);
  Drawn drawn(20000);
  for (std::size_t i = 0; i < values.size(); i += 4) {
    drawn.at(static_cast<std::size_t>(values[i]))
        .push_back({static_cast<OperationKind>(values[i + 1]), values[i + 2],
                    values[i + 3] != 0 ? Interpolation::bicubic : Interpolation::bilinear});
  }
  return drawn;
}

// Compares the number of operations per image, their kinds, pairs of kinds, arguments and interpolations.
void compare(const Drawn& ours, const Drawn& theirs, const std::string& name) {
  const auto column = [](const Drawn& drawn, auto value_of) {
    std::vector<double> values = {-1000};  // never empty
    for (const auto& operations : drawn) {
      value_of(operations, values);
    }
    return values;
  };
  const auto agree = [&](auto value_of, const std::string& what) {
    EXPECT_LT(distance_of_samples(column(ours, value_of), column(theirs, value_of)), 1) << name << ": " << what;
  };
  using Operations = std::vector<ImageOperation>;
  using Values = std::vector<double>;
  const auto number = [](OperationKind kind) { return static_cast<double>(kind); };
  agree([](const Operations& o, Values& v) { v.push_back(static_cast<double>(o.size())); }, "operations an image");
  agree(
      [&](const Operations& o, Values& v) {
        for (const ImageOperation& operation : o) {
          v.push_back(number(operation.kind));
        }
      },
      "kinds");
  agree(
      [&](const Operations& o, Values& v) {
        if (o.size() > 1) {
          v.push_back(number(o[0].kind) * kNumOperationKinds + number(o[1].kind));
        }
      },
      "pairs of kinds");
  agree(
      [](const Operations& o, Values& v) {
        for (const ImageOperation& operation : o) {
          if (is_geometric(operation.kind)) {
            v.push_back(operation.interpolation == Interpolation::bicubic ? 1 : 0);
          }
        }
      },
      "interpolations");
  for (int kind = 0; kind < kNumOperationKinds; ++kind) {
    agree(
        [&](const Operations& o, Values& v) {
          for (const ImageOperation& operation : o) {
            if (static_cast<int>(operation.kind) == kind) {
              v.push_back(operation.argument);
            }
          }
        },
        "arguments of " + std::string(to_string(static_cast<OperationKind>(kind))));
  }
}

TEST(RandAugment, DrawsAsTimmDoes) {
  const Tensors policies = reference("policies.safetensors");
  int num_policies = 0;
  for (const auto& [name, rows] : policies) {
    if (name == "jitter") {
      continue;
    }
    ++num_policies;
    const std::size_t space = name.find(' ');
    AugmentOptions options;
    options.policy = RandAugmentPolicy::parse(name.substr(0, space));
    options.interpolation = parse_interpolation_choice(name.substr(space + 1));
    options.color_jitter = 0;
    compare(drawn_by(options, 50000), drawn_by(rows), name);
  }
  EXPECT_EQ(num_policies, 8);
}

TEST(RandAugment, WithoutAPolicyColoursAreJitteredAsTorchvisionDoes) {
  AugmentOptions options;
  options.policy = RandAugmentPolicy::parse("none");
  compare(drawn_by(options, 50000), drawn_by(reference("policies.safetensors").at("jitter")), "jitter");
  options.color_jitter = 0;
  EXPECT_TRUE(drawn_by(options, 1)[0].empty());
}

// Probabilities of DeiT3's code (facebookresearch/deit, augment.py): a third each, then colour jitter.
TEST(RandAugment, ThreeAugmentIsOneOfThreeAndThenJitter) {
  AugmentOptions options;
  options.three_augment = true;
  std::array<int, kNumOperationKinds> first{};
  std::vector<double> radii, uniform;
  constexpr int kDraws = 30000;
  for (const auto& operations : drawn_by(options, kDraws)) {
    ASSERT_EQ(operations.size(), 4U);
    ++first[static_cast<std::size_t>(operations[0].kind)];
    if (operations[0].kind == OperationKind::gaussian_blur) {
      radii.push_back(operations[0].argument);
      uniform.push_back(0.1 + 1.9 * (static_cast<double>(uniform.size() % 1000) + 0.5) / 1000);
    } else if (operations[0].kind == OperationKind::solarize) {
      EXPECT_EQ(operations[0].argument, 128);
    }
    for (std::size_t i = 1; i < 4; ++i) {
      EXPECT_GE(operations[i].argument, 0.7);
      EXPECT_LE(operations[i].argument, 1.3);
    }
  }
  for (const OperationKind kind : {OperationKind::grayscale, OperationKind::solarize, OperationKind::gaussian_blur}) {
    EXPECT_NEAR(first[static_cast<std::size_t>(kind)], kDraws / 3.0, 4.5 * std::sqrt(kDraws * 2 / 9.0));
  }
  EXPECT_LT(distance_of_samples(radii, uniform), 1);
}

TEST(RandAugment, OldSeedsKeepTheirCrops) {
  AugmentOptions plain;
  plain.policy = RandAugmentPolicy::parse("none");
  plain.color_jitter = 0;
  AugmentOptions full;
  full.interpolation = InterpolationChoice::random;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    PhiloxStream one = stream(i), two = stream(i);
    const TrainingPlan a = draw_training_plan(one, 300, 400, plain), b = draw_training_plan(two, 300, 400, full);
    EXPECT_EQ(a.crop, b.crop);
    EXPECT_EQ(a.flip, b.flip);
    EXPECT_EQ(a.erase, b.erase);
    EXPECT_TRUE(a.operations.empty());
  }
}

TEST(RandAugment, ReadsPoliciesAsTimmDoesAndRefusesWhatTimmRefuses) {
  int num_read = 0, num_refused = 0;
  for (const auto& [key, tensor] : reference("grammar.safetensors")) {
    const std::string text = key.substr(std::string("text ").size());
    const auto expected = values_of<double>(tensor);
    if (text == "rand-w0") {  // a flag of timm 0.3.2, which 1.0.20 no longer has
      EXPECT_EQ(expected[0], -1);
      EXPECT_EQ(RandAugmentPolicy::parse(text).set, RandAugmentPolicy::Set::all_weighted);
      continue;
    }
    if (expected[0] == -1) {
      ++num_refused;
      EXPECT_THROW(RandAugmentPolicy::parse(text), Error) << text;
      continue;
    }
    ++num_read;
    const RandAugmentPolicy policy = RandAugmentPolicy::parse(text);
    EXPECT_EQ(policy.magnitude, expected[0]) << text;
    EXPECT_EQ(policy.magnitude_deviation, expected[1]) << text;
    EXPECT_EQ(policy.magnitude_max, expected[2]) << text;
    EXPECT_EQ(policy.num_operations, expected[3]) << text;
    EXPECT_EQ(policy.probability, expected[4]) << text;
    const bool is_whole = policy.set == RandAugmentPolicy::Set::all;
    EXPECT_EQ(is_whole                                               ? 15
              : policy.set == RandAugmentPolicy::Set::three          ? 3
              : policy.set == RandAugmentPolicy::Set::three_weighted ? 14
                                                                     : 15,
              expected[5])
        << text;
    EXPECT_EQ(!is_whole || policy.increasing, expected[6] != 0) << text;
    EXPECT_EQ(!is_whole && policy.set != RandAugmentPolicy::Set::three, expected[7] != 0) << text;
  }
  EXPECT_GT(num_read, 15);
  EXPECT_GT(num_refused, 10);
}

// timm ignores these silently, or takes them for something else.
TEST(RandAugment, WrongSectionsAreNamed) {
  for (const auto& [text, part] : {std::pair("rand-m9-foo", "'foo'"),
                                   {"rand-inc", "'inc'"},
                                   {"rand-m9-inc0", "'inc0'"},
                                   {"rand-m9-m8", "'m8'"},
                                   {"rand-tother", "'tother'"},
                                   {"rand-w1", "'w1'"},
                                   {"rand-mstdinf", "'mstdinf'"},
                                   {"rand-m9-", "''"},
                                   {"rand-p1.5", "'p1.5'"},
                                   {"rand-n0", "'n0'"},
                                   {"rand-mmax0", "'mmax0'"},
                                   {"rand-t3aw-n15", "14 operations"},
                                   {"rand-w0-n14", "13 operations"},
                                   {"augmix-m3", "rand-m9-mstd0.5-inc1"},
                                   {"v0", "none, or"}}) {
    try {
      RandAugmentPolicy::parse(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      const std::string whole = std::string(error.what()) + error.hint();
      EXPECT_NE(whole.find(part), std::string::npos) << whole;
      EXPECT_NE(whole.find("--aa"), std::string::npos) << whole;
    }
  }
}

}  // namespace
}  // namespace maskedkd::testing
