#include "capture.hpp"

#include "devices.hpp"
#include "trace.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace maskedkd::null_device {
namespace {

thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

// Both with the scheduler's lock.
std::vector<std::shared_ptr<Capture>> active_captures;
std::uint64_t last_id = 0;

// Whether CUDA forbids this thread a potentially unsafe call because of `capture`.
bool forbids(const Capture& capture) {
  const bool own = capture.thread == std::this_thread::get_id();
  switch (thread_mode) {
    case cudaStreamCaptureModeRelaxed:
      return false;
    case cudaStreamCaptureModeThreadLocal:
      return own && capture.mode != cudaStreamCaptureModeRelaxed;
    default:
      return own ? capture.mode != cudaStreamCaptureModeRelaxed : capture.mode == cudaStreamCaptureModeGlobal;
  }
}

// Whether the end of the origin comes after all nodes.
bool all_joined(const Capture& capture) {
  const auto& nodes = capture.graph.nodes;
  std::set<std::size_t> seen(capture.origin->frontier.begin(), capture.origin->frontier.end());
  std::vector<std::size_t> open(seen.begin(), seen.end());
  while (!open.empty()) {
    const std::size_t node = open.back();
    open.pop_back();
    for (const std::size_t before : nodes[node].after) {
      if (seen.insert(before).second) {
        open.push_back(before);
      }
    }
  }
  return seen.size() == nodes.size();
}

}  // namespace

int invalidate(Capture& capture, int code, const char* call) {
  if (!capture.invalid) {
    mistake("%s during a capture, which is invalid now", call);
  }
  capture.invalid = true;
  return code;
}

cudaError_t add_node(Stream& stream, Work work) {
  Capture& capture = *stream.capture;
  if (capture.invalid) {
    return cudaErrorStreamCaptureInvalidated;
  }
  record(Call::captured, {.device = stream.device, .stream = &stream});
  capture.graph.nodes.push_back({std::move(work), stream.frontier});
  stream.frontier = {capture.graph.nodes.size() - 1};
  return cudaSuccess;
}

cudaError_t submit(const std::shared_ptr<Stream>& stream, Work work) {
  Scheduler& s = scheduler();
  const std::lock_guard lock(s.mutex);
  if (stream->capture != nullptr) {
    return add_node(*stream, std::move(work));
  }
  const auto& standard = s.defaults[static_cast<std::size_t>(stream->device)];
  for (const auto& capture : active_captures) {
    if (stream == standard && capture->origin->blocking && capture->origin->device == stream->device) {
      return static_cast<cudaError_t>(
          invalidate(*capture, cudaErrorStreamCaptureImplicit, "work of the default stream"));
    }
  }
  s.submit(stream, work());
  return cudaSuccess;
}

int refuse_in_capture(const char* call) {
  const std::lock_guard lock(scheduler().mutex);
  int code = 0;
  for (const auto& capture : active_captures) {
    if (forbids(*capture)) {
      code = invalidate(*capture, cudaErrorStreamCaptureUnsupported, call);
    }
  }
  return code;
}

int refuse_in_capture_of(const std::shared_ptr<Stream>& stream, const char* call) {
  const std::lock_guard lock(scheduler().mutex);
  return stream->capture == nullptr ? 0 : invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported, call);
}

}  // namespace maskedkd::null_device

using namespace maskedkd::null_device;

NULL_DEVICE_EXPORT cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, thread_mode);
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  touch_context("cudaStreamBeginCapture");
  Scheduler& s = scheduler();
  const std::lock_guard lock(s.mutex);
  const auto stream = s.find(handle);
  if (stream == s.defaults[static_cast<std::size_t>(stream->device)]) {
    mistake("a capture of the default stream");
    return result(cudaErrorStreamCaptureUnsupported);
  }
  if (stream->capture != nullptr) {
    mistake("a capture of a stream that is captured already");
    return result(cudaErrorIllegalState);
  }
  stream->capture = std::make_shared<Capture>();
  stream->capture->id = ++last_id;
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  stream->capture->origin = stream;
  stream->frontier.clear();
  active_captures.push_back(stream->capture);
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  *graph = nullptr;
  Scheduler& s = scheduler();
  const std::lock_guard lock(s.mutex);
  const auto stream = s.find(handle);
  const auto capture = stream->capture;
  if (capture == nullptr) {
    return result(cudaErrorIllegalState);
  }
  if (capture->origin != stream) {
    return result(invalidate(*capture, cudaErrorStreamCaptureUnmatched, "the end of another stream"));
  }
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id()) {
    return result(cudaErrorStreamCaptureWrongThread);
  }
  const bool joined = all_joined(*capture);
  for (const auto& other : s.all()) {
    if (other->capture == capture) {
      other->capture = nullptr;
      other->frontier.clear();
    }
  }
  std::erase(active_captures, capture);
  if (capture->invalid) {
    return result(cudaErrorStreamCaptureInvalidated);
  }
  if (!joined) {
    mistake("a capture ended before all its streams had joined its first one");
    return result(cudaErrorStreamCaptureUnjoined);
  }
  if (const int code = record(Call::capture, {.size = capture->graph.nodes.size(), .device = stream->device})) {
    return result(code);
  }
  *graph = reinterpret_cast<cudaGraph_t>(new Graph(std::move(capture->graph)));
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  Scheduler& s = scheduler();
  const std::lock_guard lock(s.mutex);
  const auto capture = s.find(handle)->capture;
  *status = capture == nullptr ? cudaStreamCaptureStatusNone
            : capture->invalid ? cudaStreamCaptureStatusInvalidated
                               : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaStreamGetCaptureInfo(cudaStream_t handle, cudaStreamCaptureStatus* status,
                                                        unsigned long long* id, cudaGraph_t* graph,
                                                        const cudaGraphNode_t** nodes, const cudaGraphEdgeData** edges,
                                                        size_t* count) {
  cudaStreamIsCapturing(handle, status);
  Scheduler& s = scheduler();
  const std::lock_guard lock(s.mutex);
  const auto capture = s.find(handle)->capture;
  const auto give = [](auto* to, auto value) {
    if (to != nullptr) {
      *to = value;
    }
  };
  give(id, capture != nullptr ? capture->id : 0);
  give(graph, capture != nullptr ? reinterpret_cast<cudaGraph_t>(&capture->graph) : nullptr);
  give(nodes, nullptr);
  give(edges, nullptr);
  give(count, std::size_t{0});
  return cudaSuccess;
}
