#include "maskedkd/train/model_state.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/train/gradient_norm.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

namespace maskedkd {
namespace {

Vit trainable(const VitOptions& options, at::Device device) {
  Vit student(options);
  student.to_device(device);
  student.set_requires_grad(true);
  return student;
}

}  // namespace

ModelState::ModelState(const ModelStateOptions& options, at::Device device)
    : options_(options),
      student_(trainable(options.student, device)),
      parameters_(student_),
      optimizer_(parameters_, options.adamw),
      scaler_(options.scales_loss) {
  start_average();
}

void ModelState::start_average() {
  if (options_.ema_decay > 0) {
    average_.emplace(parameters_, options_.ema_decay);
  }
}

at::Tensor ModelState::zero_gradient() const { return at::zeros_like(parameters_.values()); }

ModelState::Update ModelState::apply(at::Tensor& gradient_sum, int num_micro_batches, double learning_rate) {
  const at::NoGradGuard no_grad;
  gradient_sum.div_(num_micro_batches * scaler_.scale());
  const double norm = euclidean_norm(gradient_sum);
  const bool finite = std::isfinite(norm);
  if (!finite && !scaler_.enabled()) {
    return Update::refused;
  }
  scaler_.update(finite);
  if (!finite) {
    return scaler_.scale() < LossScaler::kSmallest ? Update::refused : Update::skipped;
  }
  if (options_.clip_gradient_norm > 0) {
    clip_to_norm(gradient_sum, norm, options_.clip_gradient_norm);
  }
  optimizer_.step(gradient_sum, learning_rate);
  if (average_) {
    average_->update();
  }
  return Update::applied;
}

std::map<std::string, NamedTensors> ModelState::groups() const {
  std::map<std::string, NamedTensors> groups;
  groups["model"] = parameters_.named_views(parameters_.values());
  groups["optimizer"] = optimizer_.state();
  if (average_) {
    groups["ema"] = parameters_.named_views(average_->values());
  }
  return groups;
}

std::uint64_t ModelState::size_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [group, tensors] : groups()) {
    bytes += total_bytes(tensors);
  }
  return bytes;
}

void ModelState::restore(const LoadedCheckpoint& checkpoint, double loss_scale, int good_steps) {
  const auto group = [&](const char* name) -> const std::map<std::string, at::Tensor>& {
    const auto found = checkpoint.groups.find(name);
    if (found == checkpoint.groups.end()) {
      throw usage_error(fmt::format("{} has no {}.safetensors", checkpoint.path.string(), name),
                        "it is not a training checkpoint");
    }
    return found->second;
  };
  parameters_.copy_named(group("model"), "", parameters_.values());
  optimizer_.load_state(group("optimizer"));
  if (average_) {
    parameters_.copy_named(group("ema"), "", average_->values());
  }
  scaler_.restore(loss_scale, good_steps);
}

std::vector<at::Tensor> ModelState::replicated() const {
  std::vector<at::Tensor> tensors = {parameters_.values()};
  if (average_) {
    tensors.push_back(average_->values());
  }
  return tensors;
}

void ModelState::with_average(const std::function<void()>& work) {
  const at::NoGradGuard no_grad;
  const at::Tensor trained = parameters_.values().clone();
  parameters_.values().copy_(average_->values());
  work();
  parameters_.values().copy_(trained);
}

}  // namespace maskedkd
