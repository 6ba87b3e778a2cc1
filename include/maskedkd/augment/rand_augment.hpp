// RandAugment (Cubuk et al. 2020) as timm does it: a policy is a text such as rand-m9-mstd0.5-inc1, an image's
// operations are drawn from it. The grammar and every magnitude's meaning are those of timm 1.0.20; w0 is 0.3.2's.
//
//   rand     the policy itself; behind it, in any order, separated by '-':
//   m9       magnitude, a whole number; without it 10
//   mstd0.5  standard deviation of the magnitude, drawn anew for each operation; above 100: uniform from 0 to m
//   mmax10   magnitudes are clipped to [0, mmax]; without it 10
//   n2       operations an image; without it 2
//   p0.5     probability that a drawn operation is applied; without it 0.5
//   inc1     variants whose effect grows with the magnitude
//   t3a      the set of operations: 3a, 3aw or weights, of which the last two are weighted and drawn without
//            replacement; without it all 15 alike
//   w0       timm 0.3.2: all 15, weighted, drawn without replacement
#pragma once

#include "maskedkd/augment/operations.hpp"
#include "maskedkd/base/philox.hpp"

#include <string>
#include <vector>

namespace maskedkd {

// Which interpolation an image is drawn: one for all, or either for each use.
enum class InterpolationChoice { bilinear, bicubic, random };
std::string to_string(InterpolationChoice choice);
InterpolationChoice parse_interpolation_choice(const std::string& text);  // throws Error (usage) listing the names
Interpolation draw_interpolation(PhiloxStream& random, InterpolationChoice choice);  // draws where random only

struct RandAugmentPolicy {
  enum class Set { all, all_weighted, weights, three, three_weighted };

  bool enabled = true;  // "none" turns it off
  double magnitude = 9;
  double magnitude_deviation = 0.5;  // infinity: uniform
  double magnitude_max = 10;
  int num_operations = 2;
  double probability = 0.5;
  bool increasing = true;
  Set set = Set::all;

  // "none", or the grammar above. Throws Error (usage) naming --aa, the section and what there is.
  static RandAugmentPolicy parse(const std::string& text);
  // timm jitters colours beside 3-Augment's sets only.
  bool allows_color_jitter() const { return !enabled || set == Set::three || set == Set::three_weighted; }
};

// Adds to `operations` what one image gets, in the order of application.
void draw_rand_augment(PhiloxStream& random, const RandAugmentPolicy& policy, InterpolationChoice interpolation,
                       std::vector<ImageOperation>& operations);

}  // namespace maskedkd
