// Moves tensors between ranks, over MPI (CPU) or NCCL (GPU); the trainer knows only this interface. Every call is
// collective unless it says otherwise, takes contiguous float32 tensors on the communicator's device, has finished (or
// is ordered before later work of the device's stream) when it returns, and throws Error.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

namespace maskedkd {

class Activity;
class MpiSession;

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const noexcept = 0;
  virtual int size() const noexcept = 0;
  // In place; the library chooses the order of additions.
  virtual void all_reduce_sum(at::Tensor& tensor) = 0;
  // Sends `send` to `peer` and fills `receive` with what it sends, of which the caller knows the size; either may be
  // empty, and they must not overlap. Both ranks call it; other ranks need not.
  virtual void exchange(const at::Tensor& send, at::Tensor& receive, int peer) = 0;
  virtual void broadcast(at::Tensor& tensor, int root) = 0;

  // The rest is not collective. This is where this rank's collectives are reported and counted.
  virtual const Activity& activity() const noexcept = 0;
  // Any thread. An error that earlier calls have caused in the background, in one line; empty: none is known.
  virtual std::string async_error() { return {}; }
  // Any thread, only before the process ends: interrupts all calls that wait for other ranks. No call may follow.
  virtual void abort() noexcept {}
};

// Over MPI for a CPU device, over NCCL for a CUDA device. Throws Error (usage) where this build has no NCCL.
std::unique_ptr<Communicator> make_communicator(const MpiSession& session, at::Device device);

}  // namespace maskedkd
