// The copy of tensors from which a checkpoint is written while training changes them. Tensors that lie next to each
// other, as the parameters of a model in one flat tensor, are copied as one; the memory of the copy is kept for the
// next one. From a GPU, a step waits only for a copy within the GPU: from there a stream that runs beside the step's
// copies into pinned memory.
#pragma once

#include "maskedkd/io/safetensors.hpp"

#include <c10/core/Stream.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace maskedkd {

class StateCopy {
 public:
  struct Part;  // memory that is copied as one

  StateCopy() = default;
  StateCopy(const StateCopy&) = delete;
  StateCopy& operator=(const StateCopy&) = delete;

  // Copies contiguous tensors, of the CPU or of one GPU, in the order of the device's current stream, without waiting
  // for the GPU. Returns tensors on the CPU of the same names, shapes and values; the next call overwrites them. Their
  // values are there once take_wait()'s function has returned. Where the GPU has no unused memory for a copy, they are
  // copied to the CPU in the current stream, which takes the GPU longer; where none can be pinned, this waits for it.
  // Throws Error for a tensor that is not contiguous.
  std::map<std::string, NamedTensors> copy(const std::map<std::string, NamedTensors>& groups);

  // Waits for the last copy() to arrive; empty where it has. May be called once, on any thread. Throws c10::Error where
  // the GPU has failed.
  std::function<void()> take_wait() { return std::exchange(wait_, nullptr); }

 private:
  void reserve(std::int64_t bytes, std::int64_t gpu_bytes, at::Device device);
  void start_transfer(const std::vector<Part>& parts, std::int64_t gpu_bytes, at::Device device);

  at::Tensor host_;                    // [bytes] uint8, on the CPU; pinned for a GPU
  at::Tensor on_gpu_;                  // [bytes] uint8; undefined on a CPU, and where the GPU has no memory for it
  std::optional<c10::Stream> stream_;  // of copies from on_gpu_
  std::function<void()> wait_;
};

}  // namespace maskedkd
