// Counts every call, writes it to a trace, and reports mistakes of the program. Each entry point calls record(), which
// also says whether the call must fail (faults.hpp).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace maskedkd::null_device {

enum class Call : std::uint8_t {
  launch,          // a kernel
  product,         // of cuBLAS or cuDNN
  config_product,  // those that found CUBLAS_WORKSPACE_CONFIG set, which LibTorch then parses for each product
  captured,        // a launch, product, copy, ... that went into a graph
  graph_launch,
  h2d_pinned,
  h2d_pageable,
  d2h_pinned,
  d2h_pageable,
  d2d,
  p2p,  // from one device to another
  h2h,
  memset,
  blocking_copy,  // those copies that made the host wait; also counted as a copy
  stream_sync,
  device_sync,
  event_sync,
  stream_query,
  event_query,
  event_record,
  stream_wait,  // for an event, on the device
  host_function,
  event_create,
  event_destroy,
  stream_create,
  malloc,
  free,
  host_alloc,
  host_free,
  set_device,
  nccl,
  nccl_init,
  nccl_abort,
  cublas_create,
  heuristic,
  attribute,  // of a kernel
  capture,    // a graph, at the end of its capture
  context,
  mistake,
  num_calls
};

const char* name_of(Call call);

struct Detail {
  const char* name = "";  // of the kernel or the function
  std::uint64_t size = 0;
  int device = -1;  // of the stream, the memory or the event
  const void* stream = nullptr;
};

// Returns the error code with which the call must fail, or 0. Does not return where a fault says so.
int record(Call call, const Detail& detail = {});

// Reports a mistake of the program: a line with MISTAKE, and with NULL_DEVICE_BACKTRACES a stack.
void mistake(const char* format, ...) __attribute__((format(printf, 1, 2)));
// Writes a line to the log: standard error, or the file of NULL_DEVICE_LOG.
void log_line(const char* format, ...) __attribute__((format(printf, 1, 2)));
// Writes the stack of the caller to file descriptor `fd`.
void print_stack(int fd);

// Of the bytes of a pinned copy to the device, or of one on it, when it is executed. number: of the copy, in the order
// of the calls.
void record_digest(Call call, std::uint64_t number, const void* bytes, std::size_t size);
// Processor time of each thread that has called the device, at a large copy to the device.
void record_times();

// After a communicator was aborted, what the host reads is not a result (NULL_DEVICE_GARBAGE).
void set_results_garbage();
bool results_are_garbage();

std::int64_t now_ns();

}  // namespace maskedkd::null_device
