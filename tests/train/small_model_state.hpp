// A model of a few hundred parameters, for tests of what surrounds a model.
#pragma once

#include "maskedkd/train/model_state.hpp"

namespace maskedkd::testing {

inline ModelStateOptions small_model_state(int num_classes = 5) {
  ModelStateOptions options;
  options.student.input_size = 8;
  options.student.patch_size = 4;
  options.student.width = 8;
  options.student.depth = 2;
  options.student.num_heads = 2;
  options.student.num_classes = num_classes;
  return options;
}

}  // namespace maskedkd::testing
