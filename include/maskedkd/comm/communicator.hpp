// One interface for moving tensors between ranks; MPI (CPU) and NCCL (GPU) stand behind it. The trainer sees this only.
// Every call is collective unless it says otherwise, works on contiguous float32 tensors on the communicator's device,
// is finished (or ordered before later work of the device's stream) when it returns, and throws Error.
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
  // In place; the order of additions is the library's.
  virtual void all_reduce_sum(at::Tensor& tensor) = 0;
  // Sends `send` to peer and receives as much from it; both sides call it, others need not.
  virtual void exchange(const at::Tensor& send, at::Tensor& receive, int peer) = 0;
  virtual void broadcast(at::Tensor& tensor, int root) = 0;

  // What follows is not collective. Where this rank's collectives are told and counted.
  virtual const Activity& activity() const noexcept = 0;
  // Any thread. What went wrong behind the last calls, in one line; empty: nothing, as far as is known.
  virtual std::string async_error() { return {}; }
  // Any thread, once the process is to end: whatever waits for other ranks is given up. Nothing else may follow.
  virtual void abort() noexcept {}
};

// Over MPI for a CPU device, over NCCL for a CUDA device (Error where this build has none).
std::unique_ptr<Communicator> make_communicator(const MpiSession& session, at::Device device);

}  // namespace maskedkd
