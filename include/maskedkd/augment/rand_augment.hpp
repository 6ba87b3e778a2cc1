// RandAugment (Cubuk et al. 2020) as in timm: a policy is a text such as rand-m9-mstd0.5-inc1, from which an image's
// operations are drawn. The grammar and all magnitudes are those of timm 1.0.20; w0 is that of 0.3.2.
//
//   rand     begins a policy; after it, in any order and separated by '-':
//   m9       magnitude, a whole number; default 10
//   mstd0.5  standard deviation of the magnitude, drawn anew for each operation; above 100: uniform from 0 to m
//   mmax10   magnitudes are clipped to [0, mmax]; default 10
//   n2       operations for each image; default 2
//   p0.5     probability that a drawn operation is applied; default 0.5
//   inc1     variants whose effect grows with the magnitude
//   t3a      the set of operations: 3a, 3aw or weights, of which the last two are weighted and drawn without
//            replacement; default: all 15 with equal weights
//   w0       timm 0.3.2: all 15, weighted, drawn without replacement
#pragma once

#include "maskedkd/augment/operations.hpp"
#include "maskedkd/base/philox.hpp"

#include <string>
#include <vector>

namespace maskedkd {

// The interpolation of an image's crop and operations: the same for all, or a random one for each.
enum class InterpolationChoice { bilinear, bicubic, random };
std::string to_string(InterpolationChoice choice);
InterpolationChoice parse_interpolation_choice(const std::string& text);  // throws Error (usage) listing the names
Interpolation draw_interpolation(PhiloxStream& random, InterpolationChoice choice);  // draws only for `random`

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

  // "none", or the grammar above. Throws Error (usage) that names --aa, the section and the valid ones.
  static RandAugmentPolicy parse(const std::string& text);
  // timm combines colour jitter only with the sets of 3-Augment.
  bool allows_color_jitter() const { return !enabled || set == Set::three || set == Set::three_weighted; }
};

// Appends the operations of one image in the order of application.
void draw_rand_augment(PhiloxStream& random, const RandAugmentPolicy& policy, InterpolationChoice interpolation,
                       std::vector<ImageOperation>& operations);

}  // namespace maskedkd
