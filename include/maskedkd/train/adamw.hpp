// AdamW (Loshchilov and Hutter 2019) over flat parameters, with DeiT's two groups, and DeiT's weight average.
#pragma once

#include "maskedkd/train/flat_parameters.hpp"

#include <map>
#include <string>
#include <vector>

namespace maskedkd {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.05;
  void validate() const;  // throws Error (usage)
};

class AdamW {
 public:
  AdamW(const FlatParameters& parameters, const AdamWOptions& options);

  // gradient [P], on the parameters' device. finite: scalar bool there, whether the gradient is; nothing changes where
  // it is not.
  void step(const at::Tensor& gradient, double learning_rate, const at::Tensor& finite);

  NamedTensors state() const;                                         // exp_avg.NAME, exp_avg_sq.NAME, num_steps
  void load_state(const std::map<std::string, at::Tensor>& tensors);  // throws Error
  // The whole state: both moments [P], and the number of steps.
  std::vector<at::Tensor> replicated() const { return {exp_avg_, exp_avg_sq_, num_steps_}; }

 private:
  const FlatParameters& parameters_;
  AdamWOptions options_;
  at::Tensor exp_avg_, exp_avg_sq_;  // [P]
  at::Tensor num_steps_;             // scalar float32, as the fused kernel requires
};

// average = decay average + (1 - decay) value, after every optimizer step (timm's ModelEma).
class WeightAverage {
 public:
  WeightAverage(const FlatParameters& parameters, double decay);  // starts as a copy
  void update(const at::Tensor& finite);                          // as AdamW::step
  const at::Tensor& values() const noexcept { return average_; }  // [P]

 private:
  const FlatParameters& parameters_;
  double decay_;
  at::Tensor average_;
};

}  // namespace maskedkd
