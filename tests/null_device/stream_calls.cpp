// CUDA's calls for streams and events.
#include "capture.hpp"
#include "devices.hpp"
#include "faults.hpp"
#include "streams.hpp"
#include "trace.hpp"

#include <algorithm>

namespace maskedkd::null_device {
namespace {

struct Recording {
  Position position;
  std::int64_t reached_ns = 0;
  std::shared_ptr<Capture> capture;   // where the recording is part of a capture
  std::vector<std::size_t> frontier;  // its nodes then
};

struct Event {
  int device = 0;
  std::shared_ptr<Recording> last;  // null: never recorded
};

Event* event_of(cudaEvent_t event) { return reinterpret_cast<Event*>(event); }

// Forbidden: a wait for, or a question about, an event that was recorded in a capture.
int refuse_captured(const Recording& recording, const char* call) {
  const std::lock_guard lock(scheduler().mutex);
  return recording.capture == nullptr ? 0 : invalidate(*recording.capture, cudaErrorCapturedEvent, call);
}

cudaError_t create_stream(cudaStream_t* handle, unsigned flags) {
  touch_context("cudaStreamCreate");
  if (const int code = record(Call::stream_create, {.device = current_device()})) {
    return result(code);
  }
  auto stream = std::make_shared<Stream>();
  stream->device = current_device();
  stream->blocking = (flags & cudaStreamNonBlocking) == 0;
  *handle = reinterpret_cast<cudaStream_t>(stream.get());
  Scheduler& s = scheduler();
  const std::lock_guard lock(s.mutex);
  s.created.push_back(std::move(stream));
  return cudaSuccess;
}

// Lets a random schedule do some work, so that a program that asks again and again sees an end.
bool poll(const Position& position) {
  Scheduler& s = scheduler();
  const std::lock_guard lock(s.mutex);
  if (!position.reached() && s.late && s.random() % 4 == 0) {
    s.advance_towards(position);
  } else {
    s.run();
  }
  return position.reached();
}

// A wait during a capture: the stream becomes part of the capture, or there is an error.
int wait_in_capture(Stream& stream, const Recording& recording) {
  if (recording.capture == nullptr) {
    return invalidate(*stream.capture, cudaErrorStreamCaptureIsolation, "a wait for an event outside of it");
  }
  if (stream.capture == nullptr) {
    if (recording.capture->origin->capture != recording.capture) {
      mistake("a wait for an event of a capture that has ended");
      return cudaErrorCapturedEvent;
    }
    stream.capture = recording.capture;
    stream.frontier.clear();
  } else if (stream.capture != recording.capture) {
    return invalidate(*stream.capture, cudaErrorStreamCaptureMerge, "a wait for another capture");
  }
  for (const std::size_t node : recording.frontier) {
    if (std::find(stream.frontier.begin(), stream.frontier.end(), node) == stream.frontier.end()) {
      stream.frontier.push_back(node);
    }
  }
  return 0;
}

}  // namespace
}  // namespace maskedkd::null_device

using namespace maskedkd::null_device;

NULL_DEVICE_EXPORT cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return create_stream(stream, cudaStreamDefault);
}
NULL_DEVICE_EXPORT cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return create_stream(stream, flags);
}
NULL_DEVICE_EXPORT cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return create_stream(stream, flags);
}
NULL_DEVICE_EXPORT cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  const StreamState state = state_of(handle);
  wait_for(end_of(state.stream));
  Scheduler& s = scheduler();
  const std::lock_guard lock(s.mutex);
  std::erase(s.created, state.stream);
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) {
  *priority = 0;
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  touch_context("cudaStreamSynchronize");
  const StreamState state = state_of(handle);
  if (const int code = record(Call::stream_sync, {.device = state.stream->device, .stream = state.stream.get()})) {
    return result(code);
  }
  if (const int code = refuse_in_capture_of(state.stream, "cudaStreamSynchronize")) {
    return result(code);
  }
  wait_for(end_of(state.stream));
  return result(sticky_error());
}
NULL_DEVICE_EXPORT cudaError_t cudaDeviceSynchronize() {
  touch_context("cudaDeviceSynchronize");
  if (const int code = record(Call::device_sync, {.device = current_device()})) {
    return result(code);
  }
  if (const int code = refuse_in_capture("cudaDeviceSynchronize")) {
    return result(code);
  }
  wait_for_device(current_device());
  return result(sticky_error());
}
NULL_DEVICE_EXPORT cudaError_t cudaStreamQuery(cudaStream_t handle) {
  const StreamState state = state_of(handle);
  if (const int code = record(Call::stream_query, {.device = state.stream->device, .stream = state.stream.get()})) {
    return result(code);
  }
  if (const int code = refuse_in_capture_of(state.stream, "cudaStreamQuery")) {
    return result(code);
  }
  return poll(end_of(state.stream)) ? cudaSuccess : result(cudaErrorNotReady);
}
NULL_DEVICE_EXPORT cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  const StreamState state = state_of(handle);
  if (const int code = record(Call::stream_wait, {.device = state.stream->device, .stream = state.stream.get()})) {
    return result(code);
  }
  const auto recording = event_of(event)->last;
  if (recording == nullptr) {
    return cudaSuccess;
  }
  Scheduler& s = scheduler();
  const std::lock_guard lock(s.mutex);
  if (state.stream->capture != nullptr || recording->capture != nullptr) {
    return result(wait_in_capture(*state.stream, *recording));
  }
  const Position position = recording->position;
  s.append(
      state.stream, [position] { return position.reached() ? Progress::finished : Progress::blocked; }, position);
  s.run();
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* data) {
  const StreamState state = state_of(handle);
  if (const int code = record(Call::host_function, {.device = state.stream->device, .stream = state.stream.get()})) {
    return result(code);
  }
  return result(submit(state.stream, [function, data] {
    return [function, data] {
      function(data);
      return Progress::finished;
    };
  }));
}
NULL_DEVICE_EXPORT cudaError_t cudaStreamAddCallback(cudaStream_t handle, cudaStreamCallback_t callback, void* data,
                                                     unsigned) {
  const StreamState state = state_of(handle);
  if (const int code = record(Call::host_function, {.device = state.stream->device, .stream = state.stream.get()})) {
    return result(code);
  }
  return result(submit(state.stream, [handle, callback, data] {
    return [handle, callback, data] {
      callback(handle, cudaSuccess, data);
      return Progress::finished;
    };
  }));
}

NULL_DEVICE_EXPORT cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  touch_context("cudaEventCreate");
  if (const int code = record(Call::event_create, {.device = current_device()})) {
    return result(code);
  }
  *event = reinterpret_cast<cudaEvent_t>(new Event{current_device(), nullptr});
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
NULL_DEVICE_EXPORT cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const int code = record(Call::event_destroy, {.device = event_of(event)->device});
  delete event_of(event);
  return result(code);
}
NULL_DEVICE_EXPORT cudaError_t cudaEventRecordWithFlags(cudaEvent_t handle, cudaStream_t stream_handle, unsigned) {
  touch_context("cudaEventRecord");
  Event& event = *event_of(handle);
  const StreamState state = state_of(stream_handle);
  if (const int code = record(Call::event_record, {.device = state.stream->device, .stream = state.stream.get()})) {
    return result(code);
  }
  if (event.device != state.stream->device) {
    mistake("an event of device %d recorded on a stream of device %d", event.device, state.stream->device);
    return result(cudaErrorInvalidResourceHandle);
  }
  auto recording = std::make_shared<Recording>();
  event.last = recording;
  Scheduler& s = scheduler();
  const std::lock_guard lock(s.mutex);
  if (state.stream->capture != nullptr) {
    recording->capture = state.stream->capture;
    recording->frontier = state.stream->frontier;
    return result(recording->capture->invalid ? cudaErrorStreamCaptureInvalidated : cudaSuccess);
  }
  s.append(state.stream, [recording] {
    recording->reached_ns = now_ns();
    return Progress::finished;
  });
  recording->position = end_of(state.stream);
  s.run();
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return cudaEventRecordWithFlags(event, stream, 0);
}
NULL_DEVICE_EXPORT cudaError_t cudaEventQuery(cudaEvent_t handle) {
  const auto recording = event_of(handle)->last;
  if (const int code = record(Call::event_query, {.device = event_of(handle)->device})) {
    return result(code);
  }
  if (recording == nullptr) {
    return cudaSuccess;
  }
  if (const int code = refuse_captured(*recording, "cudaEventQuery")) {
    return result(code);
  }
  if (const int code = refuse_in_capture("cudaEventQuery")) {
    return result(code);
  }
  return poll(recording->position) ? cudaSuccess : result(cudaErrorNotReady);
}
NULL_DEVICE_EXPORT cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  const auto recording = event_of(handle)->last;
  if (const int code = record(Call::event_sync, {.device = event_of(handle)->device})) {
    return result(code);
  }
  if (recording == nullptr) {
    return cudaSuccess;
  }
  if (const int code = refuse_captured(*recording, "cudaEventSynchronize")) {
    return result(code);
  }
  if (const int code = refuse_in_capture("cudaEventSynchronize")) {
    return result(code);
  }
  wait_for(recording->position);
  return result(sticky_error());
}
NULL_DEVICE_EXPORT cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t from, cudaEvent_t to) {
  const auto first = event_of(from)->last, second = event_of(to)->last;
  if (first == nullptr || second == nullptr || event_of(from)->device != event_of(to)->device) {
    return result(cudaErrorInvalidResourceHandle);
  }
  if (!poll(first->position) || !poll(second->position)) {
    return result(cudaErrorNotReady);
  }
  *ms = static_cast<float>(second->reached_ns - first->reached_ns) * 1e-6F;
  return cudaSuccess;
}
