// Captures of streams into graphs, and the rules of a capture: what a stream may do in it, and what other calls may
// not.
#pragma once

#include "streams.hpp"

#include <cuda_runtime_api.h>

#include <thread>

namespace maskedkd::null_device {

// Begins one execution of a captured operation. Empty for a kernel, which does nothing.
using Work = std::function<Step()>;

struct Node {
  Work work;
  std::vector<std::size_t> after;  // nodes that must be finished before
};

struct Graph {
  std::vector<Node> nodes;
};

struct Capture {
  std::uint64_t id = 0;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  std::shared_ptr<Stream> origin;
  Graph graph;
  bool invalid = false;
};

// Adds an operation to the capture that `stream` is part of; with the scheduler's lock.
cudaError_t add_node(Stream& stream, Work work);

// Called by an operation that a stream is given: adds it to the capture, or executes it in its turn. Takes the lock.
cudaError_t submit(const std::shared_ptr<Stream>& stream, Work work);

// For a call that CUDA forbids while streams are captured (an allocation, a wait of the host): its error code, after
// which the captures are invalid, or 0. Takes the lock.
int refuse_in_capture(const char* call);
// The same for a call that concerns this stream.
int refuse_in_capture_of(const std::shared_ptr<Stream>& stream, const char* call);
// With the lock held.
int invalidate(Capture& capture, int code, const char* call);

}  // namespace maskedkd::null_device
