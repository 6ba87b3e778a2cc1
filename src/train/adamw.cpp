#include "maskedkd/train/adamw.hpp"

#include "maskedkd/base/error.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace maskedkd {

void AdamWOptions::validate() const {
  if (!(beta1 >= 0 && beta1 < 1) || !(beta2 >= 0 && beta2 < 1) || !(epsilon > 0) || !(weight_decay >= 0)) {
    throw usage_error(fmt::format(
        "AdamW: --beta1 {} and --beta2 {} must lie in [0, 1), --adam-epsilon {} above 0, --weight-decay {} not below 0",
        beta1, beta2, epsilon, weight_decay));
  }
}

AdamW::AdamW(const FlatParameters& parameters, const AdamWOptions& options)
    : parameters_(parameters),
      options_(options),
      exp_avg_(at::zeros_like(parameters.values())),
      exp_avg_sq_(at::zeros_like(parameters.values())),
      num_steps_(at::zeros({}, parameters.values().options())) {}

void AdamW::step(const at::Tensor& gradient, double learning_rate, const at::Tensor& finite) {
  const at::NoGradGuard no_grad;
  num_steps_ += finite;
  const at::Tensor skips = finite.logical_not().to(at::kFloat);
  const std::int64_t decayed = parameters_.num_decayed();
  const auto update = [&](std::int64_t begin, std::int64_t length, double weight_decay) {
    if (length == 0) {
      return;
    }
    const auto slice = [&](const at::Tensor& flat) { return std::vector<at::Tensor>{flat.narrow(0, begin, length)}; };
    std::vector<at::Tensor> values = slice(parameters_.values()), gradients = slice(gradient), first = slice(exp_avg_),
                            second = slice(exp_avg_sq_);
    at::_fused_adamw_(values, gradients, first, second, {}, {num_steps_}, learning_rate, options_.beta1, options_.beta2,
                      weight_decay, options_.epsilon, /*amsgrad=*/false, /*maximize=*/false, /*grad_scale=*/{}, skips);
  };
  update(0, decayed, options_.weight_decay);
  update(decayed, parameters_.size() - decayed, 0.0);
}

NamedTensors AdamW::state() const {
  NamedTensors tensors = parameters_.named_views(exp_avg_, "exp_avg.");
  for (auto& entry : parameters_.named_views(exp_avg_sq_, "exp_avg_sq.")) {
    tensors.push_back(std::move(entry));
  }
  tensors.emplace_back("num_steps", num_steps_);
  return tensors;
}

void AdamW::load_state(const std::map<std::string, at::Tensor>& tensors) {
  parameters_.copy_named(tensors, "exp_avg.", exp_avg_);
  parameters_.copy_named(tensors, "exp_avg_sq.", exp_avg_sq_);
  const auto steps = tensors.find("num_steps");
  if (steps == tensors.end() || steps->second.numel() != 1) {
    throw Error("the checkpoint's optimizer has no num_steps", "it is not a checkpoint of this program");
  }
  num_steps_.copy_(steps->second.view(num_steps_.sizes()));
}

WeightAverage::WeightAverage(const FlatParameters& parameters, double decay)
    : parameters_(parameters), decay_(decay), average_(parameters.values().clone()) {}

void WeightAverage::update(const at::Tensor& finite) {
  const at::NoGradGuard no_grad;
  average_.lerp_(parameters_.values(), finite.to(at::kFloat) * (1.0 - decay_));
}

}  // namespace maskedkd
