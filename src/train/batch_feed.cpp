#include "maskedkd/train/batch_feed.hpp"

#include <ATen/ops/empty.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>

namespace maskedkd {

BatchFeed::BatchFeed(std::unique_ptr<Loader> loader, at::Device device) : loader_(std::move(loader)), device_(device) {
  if (device.is_cuda()) {
    copies_ = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
  }
}

std::optional<DeviceBatch> BatchFeed::next() {
  if (!copies_) {
    std::optional<MicroBatch> batch = loader_->next();
    if (!batch) {
      return std::nullopt;
    }
    at::Tensor bytes = batch->staged.bytes;
    return DeviceBatch{std::move(*batch), std::move(bytes)};
  }
  mark_read();
  if (failure_) {
    std::rethrow_exception(failure_);
  }
  if (!started_) {
    std::optional<MicroBatch> batch = loader_->next();
    if (!batch) {
      return std::nullopt;
    }
    started_ = start(std::move(*batch));
  }
  const std::size_t slot = 1 - filling_;  // start() has moved on to the other one
  slots_[slot].filled->block(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  given_ = slot;
  return std::exchange(started_, std::nullopt);
}

void BatchFeed::start_next() {
  if (!copies_ || started_ || !loader_->is_ready()) {
    return;
  }
  std::optional<MicroBatch> batch;
  try {
    batch = loader_->next();
  } catch (...) {
    failure_ = std::current_exception();
  }
  if (batch) {
    started_ = start(std::move(*batch));
  }
}

void BatchFeed::mark_read() {
  if (given_) {
    std::optional<c10::Event>& read = slots_[*given_].read;
    if (!read) {
      read.emplace(device_.type());
    }
    read->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
    given_.reset();
  }
}

DeviceBatch BatchFeed::start(MicroBatch batch) {
  Slot& slot = slots_[filling_];
  filling_ = 1 - filling_;
  const at::Tensor& host = batch.staged.bytes;
  const c10::StreamGuard guard(*copies_);
  if (!slot.bytes.defined() || slot.bytes.numel() < host.numel()) {
    slot.bytes = at::empty(host.sizes(), host.options().device(device_).pinned_memory(false));
  }
  if (slot.read) {
    slot.read->block(*copies_);
  }
  at::Tensor bytes = slot.bytes.narrow(0, 0, host.numel());
  bytes.copy_(host, /*non_blocking=*/true);
  if (!slot.filled) {
    slot.filled.emplace(device_.type());
  }
  slot.filled->record(*copies_);
  return {std::move(batch), std::move(bytes)};
}

}  // namespace maskedkd
