// Which patches each criterion keeps, for scores whose order is obvious.
#include "maskedkd/distill/teacher_view.hpp"

#include "maskedkd/base/error.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include <set>

namespace maskedkd {
namespace {

// Four equal rows: patch p has the score p.
at::Tensor rising(std::int64_t patches) { return at::arange(patches, at::kFloat).repeat({4, 1}); }

std::set<std::int64_t> row_of(const at::Tensor& kept, std::int64_t row = 0) {
  std::set<std::int64_t> patches;
  for (std::int64_t k = 0; k < kept.size(1); ++k) {
    patches.insert(kept[row][k].item<std::int64_t>());
  }
  return patches;
}

MaskOptions mask_of(MaskCriterion criterion, KeepCount keep) {
  MaskOptions mask;
  mask.criterion = criterion;
  mask.keep = keep;
  return mask;
}

using Patches = std::set<std::int64_t>;

TEST(TeacherView, EachCriterionRanksByItsOwnScores) {
  const PatchEvidence evidence = {rising(16), -rising(16), [] { return (rising(16) - 7).abs(); }};
  const auto chosen = [&](MaskCriterion criterion) {
    return row_of(TeacherView(mask_of(criterion, KeepCount::patches(3)), 1, 4, 4).choose(0, evidence), 3);
  };
  EXPECT_EQ(chosen(MaskCriterion::student), (Patches{13, 14, 15}));
  EXPECT_EQ(chosen(MaskCriterion::lowest), (Patches{0, 1, 2}));
  EXPECT_EQ(chosen(MaskCriterion::random), (Patches{0, 1, 2}));
  EXPECT_EQ(chosen(MaskCriterion::teacher), (Patches{15, 14, 0}));
}

TEST(TeacherView, WithoutMaskingNoAttentionIsRequested) {
  for (const MaskCriterion criterion : {MaskCriterion::student, MaskCriterion::lowest, MaskCriterion::random,
                                        MaskCriterion::teacher, MaskCriterion::all}) {
    const TeacherView view(mask_of(criterion, KeepCount::share(1.0)), 1, 4, 4);
    EXPECT_FALSE(view.needs_student_attention(0));
    EXPECT_FALSE(view.needs_random_scores(0));
    EXPECT_FALSE(view.choose(0, {}).defined());
    EXPECT_EQ(view.num_patches(0), 16);
  }
}

TEST(TeacherView, RequestsTheAttentionThatItsCriterionNeeds) {
  const auto view = [](MaskCriterion criterion) {
    return TeacherView(mask_of(criterion, KeepCount::patches(2)), 1, 4, 4);
  };
  EXPECT_TRUE(view(MaskCriterion::student).needs_student_attention(0));
  EXPECT_TRUE(view(MaskCriterion::lowest).needs_student_attention(0));
  EXPECT_FALSE(view(MaskCriterion::teacher).needs_student_attention(0));
  EXPECT_FALSE(view(MaskCriterion::random).needs_student_attention(0));
  EXPECT_TRUE(view(MaskCriterion::random).needs_random_scores(0));
  EXPECT_FALSE(view(MaskCriterion::student).needs_random_scores(0));
}

// The student's 2 x 2 patches on a teacher's 4 x 4: the patches nearest to the corner of the student's highest patch
// are kept.
TEST(TeacherView, TheStudentsGridIsResampledToTheTeachers) {
  const at::Tensor attention = rising(4);
  const at::Tensor kept =
      TeacherView(mask_of(MaskCriterion::student, KeepCount::patches(3)), 1, 2, 4).choose(0, {attention, {}, {}});
  EXPECT_EQ(row_of(kept), (Patches{11, 14, 15}));
}

TEST(TeacherView, TheNumberOfPatchesFollowsTheSchedule) {
  MaskOptions mask = mask_of(MaskCriterion::student, KeepCount::share(0.5));
  mask.schedule = KeepSchedule::linear;
  mask.keep_start = KeepCount::share(1.0);
  const TeacherView view(mask, 3, 4, 4);
  EXPECT_EQ(view.num_patches(0), 16);
  EXPECT_EQ(view.num_patches(1), 12);
  EXPECT_EQ(view.num_patches(2), 8);
  EXPECT_FALSE(view.needs_student_attention(0));
  EXPECT_EQ(row_of(view.choose(2, {rising(16), {}, {}})), (Patches{8, 9, 10, 11, 12, 13, 14, 15}));
}

}  // namespace
}  // namespace maskedkd
