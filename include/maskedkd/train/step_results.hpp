// What a device finds out in a step (the losses, the norm of the gradient), on its way to the host. Used by the
// trainer. A GPU's answers are read while it works on the next step, so the host never waits for the step that it has
// just queued; a CPU's are there at once.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Event.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace maskedkd {

// Of one step of one rank.
struct StepResult {
  std::vector<double> losses;  // of its micro-batches, in their order
  double gradient_norm = 0;    // of the mean gradient, before clipping
  double loss_scale = 1;       // after the step
  std::int64_t epoch = 0;      // of the step, from 0
  std::int64_t global_step = 0;
};

class StepResults {
 public:
  explicit StepResults(at::Device device) : device_(device) {}

  // How many steps may be queued whose results are not read: 1 on a GPU, 0 on a CPU.
  std::size_t capacity() const noexcept { return device_.is_cpu() ? 0 : 1; }
  std::size_t size() const noexcept { return steps_.size(); }

  // Starts the copy to the host, on the current stream. losses: scalars on the device; update: of ModelState::apply().
  void push(const std::vector<at::Tensor>& losses, const at::Tensor& update, std::int64_t epoch,
            std::int64_t global_step);
  // The oldest. Waits until the device has finished that step. size() must not be 0.
  StepResult pop();

 private:
  struct Step {
    at::Tensor values;               // [losses + 2] float64 on the CPU, pinned for a GPU
    std::optional<c10::Event> done;  // for a GPU: after the copy
    StepResult result;               // without what `values` contains
  };
  at::Device device_;
  std::deque<Step> steps_;
};

}  // namespace maskedkd
