#include "maskedkd/train/state_copy.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

namespace maskedkd {
namespace {

constexpr std::int64_t kAlignment = 64;       // bytes
constexpr std::uintptr_t kLargestGap = 4096;  // bytes between two tensors that are copied with them

std::uintptr_t begin_of(const at::Tensor& tensor) { return reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr()); }

}  // namespace

// Memory of one storage, with all tensors in it.
struct StateCopy::Part {
  at::Tensor first;  // the tensor at its beginning
  std::uintptr_t begin = 0, end = 0;
  std::int64_t offset = 0;  // in the copy

  std::int64_t bytes() const { return static_cast<std::int64_t>(end - begin); }

  at::Tensor memory() const {  // [bytes] uint8
    const auto in_storage = static_cast<std::int64_t>(begin - reinterpret_cast<std::uintptr_t>(first.storage().data()));
    return at::empty({0}, first.options().dtype(at::kByte).requires_grad(false))
        .set_(first.storage(), in_storage, {bytes()}, {1});
  }
};

namespace {

using Part = StateCopy::Part;

// Sorted by their addresses.
std::vector<Part> parts_of(const std::map<std::string, NamedTensors>& groups) {
  std::vector<at::Tensor> tensors;
  for (const auto& [group, named] : groups) {
    for (const auto& [name, tensor] : named) {
      if (!tensor.is_contiguous()) {
        throw Error(fmt::format("{} of {} is not contiguous, and can't be copied for a checkpoint", name, group));
      }
      if (tensor.numel() > 0) {
        tensors.push_back(tensor.detach());
      }
    }
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const at::Tensor& a, const at::Tensor& b) { return begin_of(a) < begin_of(b); });
  std::vector<Part> parts;
  for (const at::Tensor& tensor : tensors) {
    const std::uintptr_t begin = begin_of(tensor), end = begin + tensor.nbytes();
    if (!parts.empty() && parts.back().first.is_alias_of(tensor) && begin <= parts.back().end + kLargestGap) {
      parts.back().end = std::max(parts.back().end, end);
    } else {
      parts.push_back({tensor, begin, end, 0});
    }
  }
  return parts;
}

// Gives the parts that are on a device of this type offsets from `offset` on; returns the end of the last one.
std::int64_t place(std::vector<Part>& parts, c10::DeviceType type, std::int64_t offset) {
  for (Part& part : parts) {
    if (part.first.device().type() == type) {
      // Aligned as the original, for elements of any size.
      part.offset =
          (offset + kAlignment - 1) / kAlignment * kAlignment + static_cast<std::int64_t>(part.begin % kAlignment);
      offset = part.offset + part.bytes();
    }
  }
  return offset;
}

at::Tensor view_in(const at::Tensor& copy, const std::vector<Part>& parts, const at::Tensor& tensor) {
  if (tensor.numel() == 0) {
    return at::empty(tensor.sizes(), tensor.options().device(at::kCPU).requires_grad(false));
  }
  const auto after = std::upper_bound(parts.begin(), parts.end(), begin_of(tensor),
                                      [](std::uintptr_t address, const Part& part) { return address < part.begin; });
  const Part& part = *std::prev(after);
  const auto in_part = static_cast<std::int64_t>(begin_of(tensor) - part.begin);
  return copy.narrow(0, part.offset + in_part, static_cast<std::int64_t>(tensor.nbytes()))
      .view(tensor.scalar_type())
      .view(tensor.sizes());
}

void copy_parts(const std::vector<Part>& parts, const at::Tensor& to, c10::DeviceType from) {
  for (const Part& part : parts) {
    if (part.first.device().type() == from) {
      to.narrow(0, part.offset, part.bytes()).copy_(part.memory(), /*non_blocking=*/true);
    }
  }
}

// Whether the GPU has so much memory that nobody has used so far, and more. What LibTorch's allocator holds does not
// count: the next step needs it.
bool has_unused(at::Device device, std::int64_t bytes) {
  const auto [free, total] = at::getDeviceAllocator(device.type())->getMemoryInfo(device.index());
  constexpr std::size_t kLeft = 16;  // a sixteenth, for an evaluation and libraries
  return free >= static_cast<std::size_t>(bytes) + total / kLeft;
}

}  // namespace

void StateCopy::reserve(std::int64_t bytes, std::int64_t gpu_bytes, at::Device device) {
  const at::TensorOptions options = at::TensorOptions().dtype(at::kByte);
  if (!host_.defined() || host_.numel() < bytes) {
    host_ = at::Tensor();
    try {
      host_ = at::empty({bytes}, options.pinned_memory(!device.is_cpu()));
    } catch (const c10::Error&) {
      if (device.is_cpu()) {
        throw;
      }
      spdlog::warn("no {} MB of memory can be pinned for the copies of checkpoints: a step waits for each of them",
                   bytes >> 20);
      host_ = at::empty({bytes}, options);
    }
    on_gpu_ = at::Tensor();
    if (!device.is_cpu() && has_unused(device, gpu_bytes)) {
      try {
        on_gpu_ = at::empty({gpu_bytes}, options.device(device));
      } catch (const c10::OutOfMemoryError&) {  // another program was faster
      }
    }
  }
}

// Begins the copies from a GPU: of parts whose offsets in the copy begin at 0.
void StateCopy::start_transfer(const std::vector<Part>& parts, std::int64_t gpu_bytes, at::Device device) {
  const c10::impl::VirtualGuardImpl backend(device.type());
  const c10::Stream current = backend.getStream(device);
  const auto done = std::make_shared<c10::Event>(device.type());
  if (!on_gpu_.defined()) {
    copy_parts(parts, host_, device.type());
    done->record(current);
  } else {
    copy_parts(parts, on_gpu_, device.type());
    c10::Event copied(device.type());
    copied.record(current);
    if (!stream_) {
      stream_ = backend.getStreamFromGlobalPool(device);
    }
    copied.block(*stream_);
    const c10::StreamGuard beside(*stream_);
    host_.narrow(0, 0, gpu_bytes).copy_(on_gpu_.narrow(0, 0, gpu_bytes), /*non_blocking=*/true);
    done->record(*stream_);
  }
  wait_ = [done, device] {
    const c10::DeviceGuard guard(device);  // a new thread's current device is GPU 0
    done->synchronize();
  };
}

std::map<std::string, NamedTensors> StateCopy::copy(const std::map<std::string, NamedTensors>& groups) {
  const at::NoGradGuard no_grad;
  std::vector<Part> parts = parts_of(groups);
  const auto on_gpu = std::find_if(parts.begin(), parts.end(), [](const Part& part) { return !part.first.is_cpu(); });
  const at::Device device = on_gpu == parts.end() ? at::Device(at::kCPU) : on_gpu->first.device();
  const std::int64_t gpu_bytes = device.is_cpu() ? 0 : place(parts, device.type(), 0);
  reserve(place(parts, at::kCPU, gpu_bytes), gpu_bytes, device);
  copy_parts(parts, host_, at::kCPU);
  wait_ = nullptr;
  if (!device.is_cpu()) {
    start_transfer(parts, gpu_bytes, device);
  }
  std::map<std::string, NamedTensors> copies;
  for (const auto& [group, named] : groups) {
    for (const auto& [name, tensor] : named) {
      copies[group].emplace_back(name, view_in(host_, parts, tensor));
    }
  }
  return copies;
}

}  // namespace maskedkd
