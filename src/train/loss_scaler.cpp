#include "maskedkd/train/loss_scaler.hpp"

namespace maskedkd {
namespace {

constexpr double kGrowth = 2.0;
constexpr double kBackoff = 0.5;
constexpr int kGrowthInterval = 2000;

}  // namespace

void LossScaler::update(bool gradients_finite) {
  if (!enabled_) {
    return;
  }
  if (!gradients_finite) {
    scale_ *= kBackoff;
    good_steps_ = 0;
  } else if (++good_steps_ == kGrowthInterval) {
    scale_ *= kGrowth;
    good_steps_ = 0;
  }
}

void LossScaler::restore(double scale, int good_steps) {
  scale_ = scale;
  good_steps_ = good_steps;
}

}  // namespace maskedkd
