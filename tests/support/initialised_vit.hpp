#pragma once

#include "maskedkd/model/vit.hpp"

namespace maskedkd::testing {

inline Vit initialised_vit(const VitOptions& options, std::uint64_t seed) {
  Vit model(options);
  model.initialise(seed);
  return model;
}

}  // namespace maskedkd::testing
