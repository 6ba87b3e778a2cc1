// The dynamic loss scale of fp16 training (Micikevicius et al. 2018) with the constants of torch.amp.GradScaler:
// doubled after 2000 good steps in a row, halved at every overflow, whose step is skipped. Always 1 for fp32 and bf16.
// Its state is on the device, where it is decided whether a step overflowed, so the host need not wait.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

namespace maskedkd {

class LossScaler {
 public:
  static constexpr double kSmallest = 1.0 / 1024;  // below it no gradient overflows because of its size alone

  LossScaler(bool enabled, at::Device device);

  bool enabled() const noexcept { return enabled_; }
  const at::Tensor& scale() const noexcept { return scale_; }            // scalar float32, always the same memory
  const at::Tensor& good_steps() const noexcept { return good_steps_; }  // scalar float32
  // finite: scalar bool on the device, whether the gradient is.
  void update(const at::Tensor& finite);
  void restore(double scale, int good_steps);

 private:
  bool enabled_;
  at::Tensor scale_;
  at::Tensor good_steps_;
};

}  // namespace maskedkd
