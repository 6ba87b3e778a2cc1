// Small models of every family, for tests of what all of them must do.
#pragma once

#include "maskedkd/model/vit.hpp"

#include <map>
#include <string>

namespace maskedkd::testing {

// 16 patches of 4 x 4 pixels, 7 classes.
inline VitOptions small_vit() {
  VitOptions options;
  options.input_size = 16;
  options.patch_size = 4;
  options.width = 24;
  options.depth = 3;
  options.num_heads = 3;
  options.num_classes = 7;
  return options;
}

inline std::map<std::string, VitOptions> small_vits() {
  VitOptions distilled = small_vit(), mae = small_vit(), deit3 = small_vit();
  distilled.distilled = true;
  mae.average_pool = true;
  deit3.layer_scale = true;
  deit3.layer_scale_init = 0.3;
  deit3.position_on_class_token = false;
  VitOptions cait = deit3;
  cait.num_class_blocks = 2;
  return {{"DeiT", small_vit()}, {"distilled", distilled}, {"MAE", mae}, {"CaiT", cait}, {"DeiT3", deit3}};
}

}  // namespace maskedkd::testing
