// The dynamic loss scale of fp16 training (Micikevicius et al. 2018) with the constants of torch.amp.GradScaler:
// doubled after 2000 good steps in a row, halved at every overflow, whose step is skipped. Always 1 for fp32 and bf16.
#pragma once

namespace maskedkd {

class LossScaler {
 public:
  static constexpr double kSmallest = 1.0 / 1024;  // below it no gradient overflows because of its size alone

  explicit LossScaler(bool enabled) : enabled_(enabled), scale_(enabled ? 65536.0 : 1.0) {}

  bool enabled() const noexcept { return enabled_; }
  double scale() const noexcept { return scale_; }
  int good_steps() const noexcept { return good_steps_; }
  void update(bool gradients_finite);
  void restore(double scale, int good_steps);

 private:
  bool enabled_;
  double scale_;
  int good_steps_ = 0;
};

}  // namespace maskedkd
