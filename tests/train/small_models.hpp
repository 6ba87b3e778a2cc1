// The small models of step_parts.py, whose weights reference.py writes.
#pragma once

#include "maskedkd/model/vit.hpp"

namespace maskedkd {

inline VitOptions small_student(int size, int patch, bool distilled = false) {
  VitOptions options;
  options.input_size = size;
  options.patch_size = patch;
  options.width = 48;
  options.depth = 3;
  options.num_heads = 3;
  options.num_classes = 10;
  options.distilled = distilled;
  return options;
}

inline VitOptions small_teacher(int size, int patch) {
  VitOptions options = small_student(size, patch);
  options.width = 64;
  options.num_heads = 4;
  options.layer_scale = options.uniform_drop_path = true;
  options.position_on_class_token = false;
  return options;
}

}  // namespace maskedkd
