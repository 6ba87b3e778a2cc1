#include "maskedkd/train/step_results.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>

namespace maskedkd {

void StepResults::push(const std::vector<at::Tensor>& losses, const at::Tensor& update, std::int64_t epoch,
                       std::int64_t global_step) {
  Step step;
  step.result.epoch = epoch;
  step.result.global_step = global_step;
  const at::Tensor found = at::cat({at::stack(losses).to(at::kDouble), update});
  if (device_.is_cpu()) {
    step.values = found;
  } else {
    step.values = at::empty(found.sizes(), found.options().device(at::kCPU).pinned_memory(true));
    step.values.copy_(found, /*non_blocking=*/true);
    step.done.emplace(device_.type());
    step.done->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  }
  steps_.push_back(std::move(step));
}

StepResult StepResults::pop() {
  Step step = std::move(steps_.front());
  steps_.pop_front();
  if (step.done) {
    step.done->synchronize();
  }
  const double* values = step.values.const_data_ptr<double>();
  const std::int64_t num_losses = step.values.numel() - 2;
  step.result.losses.assign(values, values + num_losses);
  step.result.gradient_norm = values[num_losses];
  step.result.loss_scale = values[num_losses + 1];
  return std::move(step.result);
}

}  // namespace maskedkd
