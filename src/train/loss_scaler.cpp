#include "maskedkd/train/loss_scaler.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

namespace maskedkd {
namespace {

constexpr double kFirstScale = 65536.0;
constexpr double kBackoff = 0.5;
constexpr int kGrowthInterval = 2000;

}  // namespace

LossScaler::LossScaler(bool enabled, at::Device device)
    : enabled_(enabled),
      scale_(at::full({}, enabled ? kFirstScale : 1.0, at::TensorOptions(at::kFloat).device(device))),
      good_steps_(at::zeros({}, scale_.options())) {}

void LossScaler::update(const at::Tensor& finite) {
  if (!enabled_) {
    return;
  }
  const at::NoGradGuard no_grad;
  const at::Tensor good = (good_steps_ + 1) * finite;
  const at::Tensor grows = good == kGrowthInterval;
  scale_.mul_(at::where(finite, grows.to(at::kFloat) + 1.0, kBackoff));  // growth by 2
  good_steps_.copy_(good * grows.logical_not());
}

void LossScaler::restore(double scale, int good_steps) {
  scale_.fill_(scale);
  good_steps_.fill_(good_steps);
}

}  // namespace maskedkd
