#include "maskedkd/train/model_state.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/train/gradient_norm.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/stack.h>

#include <cmath>

namespace maskedkd {
namespace {

Vit student_on(at::Device device, const VitOptions& options) {
  Vit student(options);
  student.to_device(device);
  return student;
}

}  // namespace

ModelState::ModelState(const ModelStateOptions& options, at::Device device)
    : options_(options),
      student_(student_on(device, options.student)),
      parameters_(student_),
      optimizer_(parameters_, options.adamw),
      scaler_(options.scales_loss, device) {
  start_average();
}

void ModelState::start_average() {
  if (options_.ema_decay > 0) {
    average_.emplace(parameters_, options_.ema_decay);
  }
}

double ModelState::loss_scale() const { return scaler_.enabled() ? scaler_.scale().item<double>() : 1.0; }

int ModelState::good_steps() const {
  return scaler_.enabled() ? static_cast<int>(scaler_.good_steps().item<double>()) : 0;
}

at::Tensor ModelState::apply(const at::Tensor& gradient_sum, int num_micro_batches, double learning_rate) {
  const at::NoGradGuard no_grad;
  if (scaler_.enabled()) {
    gradient_sum.div_(scaler_.scale() * num_micro_batches);
  } else {
    gradient_sum.div_(num_micro_batches);
  }
  const at::Tensor norm = euclidean_norm(gradient_sum);
  const at::Tensor finite = norm.isfinite();
  scaler_.update(finite);
  if (options_.clip_gradient_norm > 0) {
    clip_to_norm(gradient_sum, norm, options_.clip_gradient_norm);
  }
  optimizer_.step(gradient_sum, learning_rate, finite);
  if (average_) {
    average_->update(finite);
  }
  return at::stack({norm, scaler_.scale().to(at::kDouble)});
}

ModelState::Update ModelState::update_of(double gradient_norm, double loss_scale) const {
  if (std::isfinite(gradient_norm)) {
    return Update::applied;
  }
  return scaler_.enabled() && loss_scale >= LossScaler::kSmallest ? Update::skipped : Update::refused;
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

void ModelState::restore(const LoadedCheckpoint& checkpoint) {
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
}

void ModelState::restore_loss_scale(double loss_scale, int good_steps) { scaler_.restore(loss_scale, good_steps); }

std::vector<at::Tensor> ModelState::replicated() const {
  std::vector<at::Tensor> tensors = optimizer_.replicated();
  tensors.push_back(parameters_.values());
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
