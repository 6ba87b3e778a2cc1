// The loader's micro-batches on the device that trains on them. For a GPU the copy of the next one runs on a stream of
// its own beside the work on the current one. Used by the trainer.
#pragma once

#include "maskedkd/data/loader.hpp"

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <array>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>

namespace maskedkd {

struct DeviceBatch {
  MicroBatch batch;  // on the CPU
  at::Tensor
      bytes;  // [batch.staged.layout.num_bytes] uint8 on the device; later work of the current stream may read it
};

class BatchFeed {
 public:
  // device: where the bytes are wanted; on a CPU they are the loader's own.
  BatchFeed(std::unique_ptr<Loader> loader, at::Device device);

  // The next micro-batch, in the order of the loader; nullopt at the end. Work that reads the bytes is to be
  // queued before the next call of next(). Waits for the loader, not for the device.
  std::optional<DeviceBatch> next();
  // Starts the copy of the next micro-batch if it is ready. Call it when the work on the current one is queued. What
  // the loader throws comes with the next call of next(), when all earlier work is recorded.
  void start_next();
  const Loader& loader() const noexcept { return *loader_; }

 private:
  // Memory on the device, and the points that separate its uses.
  struct Slot {
    at::Tensor bytes;
    std::optional<c10::Event> filled;  // the copy into it has ended
    std::optional<c10::Event> read;    // what was queued between its next() and the following call has ended
  };

  DeviceBatch start(MicroBatch batch);
  void mark_read();

  std::unique_ptr<Loader> loader_;
  at::Device device_;
  std::optional<c10::Stream> copies_;  // for a GPU
  std::array<Slot, 2> slots_;
  std::size_t filling_ = 0;           // the slot that the next copy uses
  std::optional<std::size_t> given_;  // the slot of the micro-batch that next() returned last
  std::optional<DeviceBatch> started_;
  std::exception_ptr failure_;  // of start_next()
};

}  // namespace maskedkd
