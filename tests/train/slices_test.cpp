// On a CPU a micro-batch passes through the models in slices. Loss and gradient must equal those of the whole
// micro-batch: every random decision (mixing, drop path, random patches) belongs to an image of the micro-batch, not to
// its place in a slice. The whole micro-batch is computed here from parts that have their own references: Vit, loss,
// mixing.
#include "maskedkd/base/philox.hpp"
#include "maskedkd/data/random_patches.hpp"
#include "maskedkd/distill/patch_selection.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/train/distillation_step.hpp"
#include "maskedkd/train/flat_parameters.hpp"
#include "small_models.hpp"
#include "staged_micro_batch.hpp"
#include "support/initialised_vit.hpp"
#include "support/plain_preparation.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <ostream>

namespace maskedkd {
namespace {

constexpr std::uint64_t kSeed = 11;
constexpr std::uint32_t kEpoch = 2, kStep = 5, kMicroBatch = 3;
constexpr std::int64_t kKeep = 14;
const std::filesystem::path kReference = MASKEDKD_REFERENCE_DIR;

struct SlicesCase {
  std::string name;
  std::int64_t images = 0;
  MaskCriterion criterion = MaskCriterion::student;
  DistillationType type = DistillationType::soft;
};

std::ostream& operator<<(std::ostream& stream, const SlicesCase& slices) { return stream << slices.name; }

PhiloxStream stream(RandomPurpose purpose) {
  return PhiloxStream({kSeed, purpose, kEpoch, kStep, kMicroBatch, /*position=*/0});
}

class Slices : public ::testing::TestWithParam<SlicesCase> {
 protected:
  Slices()
      : student_(testing::initialised_vit(small_student(42, 7), kSeed)),
        teacher_(small_teacher(42, 7), kReference / "teacher_42_7.safetensors", at::kCPU, at::kFloat) {
    options_.student = student_.options();
    options_.seed = kSeed;
    options_.mask.keep = KeepCount::patches(kKeep);
    options_.mask.criterion = GetParam().criterion;
    options_.distillation.type = GetParam().type;
    options_.drop_path_rate = 0.4;
    options_.precision = Precision::fp32;
    student_.set_requires_grad(true);
    pixels_ = at::randint(256, {GetParam().images, 42, 42, 3}, at::kByte);
    labels_ = at::randint(10, {GetParam().images}, at::kLong);
  }

  // [L, 2, B], as documented for DistillationStep: 24 bits of each word of the stream
  at::Tensor uniforms() const {
    const at::Tensor values = at::empty({options_.student.depth, 2, GetParam().images}, at::kFloat);
    PhiloxStream random = stream(RandomPurpose::drop_path);
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      values.mutable_data_ptr<float>()[i] = std::ldexp(static_cast<float>(random.next_word() >> 8), -24);
    }
    return values;
  }

  at::Tensor loss_of_the_whole_micro_batch() const {
    PhiloxStream mix_random = stream(RandomPurpose::mixing);
    const MixPlan mix = draw_mix_plan(mix_random, static_cast<int>(GetParam().images), 42, 42, options_.mixing);
    const at::Tensor images = testing::plain_mixed(testing::plain_normalised(pixels_), mix);
    VitForward how;
    how.drop_path_factors = testing::plain_drop_path(uniforms(), {0, 0.2, 0.4});
    how.want_class_attention = true;
    const VitOutput student = student_.forward(images, how);
    at::Tensor scores = student.class_attention;
    if (GetParam().criterion == MaskCriterion::random) {
      PhiloxStream random = stream(RandomPurpose::patch_selection);
      scores = at::empty({GetParam().images, 36}, at::kFloat);
      draw_random_scores(random, scores);
    }
    return distillation_loss(student.logits, {},
                             testing::plain_targets(labels_, mix, 10, options_.mixing.label_smoothing),
                             teacher_.logits(images, select_patches(scores, kKeep)), options_.distillation);
  }

  TrainOptions options_;
  Vit student_;
  Teacher teacher_;
  at::Tensor pixels_, labels_;
};

TEST_P(Slices, LossAndGradientEqualThoseOfTheWholeMicroBatch) {
  constexpr double kLossScale = 8;
  const FlatParameters parameters(student_);
  student_.set_requires_grad(true);
  const at::Tensor wanted_loss = loss_of_the_whole_micro_batch();
  (wanted_loss * kLossScale).backward();
  std::map<std::string, at::Tensor> gradients;
  for (const auto& [name, parameter] : student_.parameters()) {
    gradients[name] = parameter.grad();
  }
  const at::Tensor wanted = at::zeros_like(parameters.values());
  parameters.copy_named(gradients, "", wanted);
  DistillationStep step(options_, parameters, &teacher_);
  const BatchRequest request{kEpoch, kStep, kMicroBatch,
                             std::vector<std::int64_t>(static_cast<std::size_t>(GetParam().images))};
  const MicroBatch batch = testing::staged_micro_batch(request, step.decisions(), kSeed, pixels_, labels_);
  const auto [loss, found] = step.run({batch, batch.staged.bytes}, at::scalar_tensor(kLossScale, at::kFloat));
  EXPECT_NEAR(loss.item<double>(), wanted_loss.item<double>(), 2e-6 * wanted_loss.item<double>());
  EXPECT_LT(((found - wanted).norm() / wanted.norm()).item<double>(), 1e-5);
}

// Ranks that send their gradient part by part have the bits of one rank alone.
TEST_P(Slices, PartsHaveTheBitsOfTheWhole) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    options_.precision = precision;
    const Teacher teacher(small_teacher(42, 7), kReference / "teacher_42_7.safetensors", at::kCPU,
                          scalar_type(precision));
    const FlatParameters parameters(student_);
    student_.set_requires_grad(true);
    DistillationStep step(options_, parameters, &teacher);
    step.read_weights();
    const BatchRequest request{kEpoch, kStep, kMicroBatch,
                               std::vector<std::int64_t>(static_cast<std::size_t>(GetParam().images))};
    const MicroBatch batch = testing::staged_micro_batch(request, step.decisions(), kSeed, pixels_, labels_);
    const at::Tensor whole = step.run({batch, batch.staged.bytes}).gradient.clone();
    at::Tensor found = at::full_like(whole, 1e30);
    int num_parts = 0;
    const auto on_part = [&](std::int64_t begin, const at::Tensor& part) {
      found.narrow(0, begin, part.numel()).copy_(part);  // as it is now
      ++num_parts;
    };
    step.run({batch, batch.staged.bytes}, {}, on_part);
    EXPECT_EQ(num_parts, 3);  // of 3 blocks: from the second on, the first, and what has no weight decay
    EXPECT_TRUE(at::equal(found, whole)) << to_string(precision);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Slices,
                         ::testing::Values(SlicesCase{"one_slice", 6}, SlicesCase{"uneven_slices", 38},
                                           SlicesCase{"even_slices", 32, MaskCriterion::student,
                                                      DistillationType::hard},
                                           SlicesCase{"random_patches", 50, MaskCriterion::random}),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace maskedkd
