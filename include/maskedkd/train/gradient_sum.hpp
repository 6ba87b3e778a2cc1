// The sum of the gradients of a step's micro-batches, of this rank and then of all ranks, in a tree that does not
// depend on the number of ranks where that is a power of two. What the last micro-batch computes is added and sent
// while it computes the rest. Used by the trainer. P: number of parameters.
#pragma once

#include "maskedkd/comm/communicator.hpp"

#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace maskedkd {

class GradientSum {
 public:
  // Gets a part of a gradient [P] and where it begins there.
  using OnPart = std::function<void(std::int64_t begin, const at::Tensor& part)>;
  // Returns the gradient [P] of the next micro-batch, which stays as it is until the next call. on_part: empty, or gets
  // each part of it when the work that computes it is queued, in the same parts and the same order on every rank.
  using NextGradient = std::function<at::Tensor(const OnPart& on_part)>;

  // deterministic: false lets the library choose the order of the additions over the ranks. The communicator outlives
  // this.
  GradientSum(Communicator& communicator, at::Device device, bool deterministic);

  // Collective. [P], on every rank, of the micro-batches of all ranks, of which [first, last) are this rank's; queued
  // on the current stream. It is overwritten by the next call, or by the next call of `next`.
  at::Tensor of(int first, int last, const NextGradient& next);

 private:
  at::Tensor subtree(int first, int last, const NextGradient& next);
  void add_over_ranks(const at::Tensor& part, const std::vector<at::Tensor>& earlier, std::int64_t begin);

  Communicator& communicator_;
  at::Device device_;
  bool deterministic_;
  std::optional<c10::Stream> beside_;       // of a GPU: where parts are added and sent
  std::optional<c10::Event> ready_, done_;  // a part, to the stream beside; all parts, from there
};

}  // namespace maskedkd
