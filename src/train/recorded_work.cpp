#include "maskedkd/train/recorded_work.hpp"

#include "maskedkd/base/log.hpp"

#ifdef MASKEDKD_WITH_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#endif

#include <algorithm>
#include <exception>
#include <string>

namespace maskedkd {

#ifdef MASKEDKD_WITH_CUDA

struct RecordedWork::Recording {
  Kind kind;
  int direct_runs = 0;
  std::unique_ptr<at::cuda::CUDAGraph> graph;
};

void RecordedWork::record(Recording& recording, const std::function<void()>& work) {
  // Otherwise the memory of the direct runs would stay beside that of the recording.
  c10::cuda::CUDACachingAllocator::emptyCache();
  auto graph = std::make_unique<at::cuda::CUDAGraph>();
  // Loader threads may allocate pinned memory meanwhile. All recordings use the same memory, as only one is replayed at
  // a time and its results lie elsewhere.
  const auto other =
      std::find_if(recordings_.begin(), recordings_.end(), [](const auto& one) { return one->graph != nullptr; });
  graph->capture_begin(other == recordings_.end() ? c10::MempoolId_t{0, 0} : (*other)->graph->pool(),
                       cudaStreamCaptureModeThreadLocal);
  std::exception_ptr failure;
  try {
    work();
  } catch (...) {
    failure = std::current_exception();
  }
  try {
    graph->capture_end();
  } catch (...) {
    failure = failure ? failure : std::current_exception();
  }
  if (failure) {
    static_cast<void>(cudaGetLastError());  // the refusal is not an error of later calls
    std::rethrow_exception(failure);
  }
  recording.graph = std::move(graph);
}

RecordedWork::Recording& RecordedWork::recording_of(const Kind& kind) {
  for (const std::unique_ptr<Recording>& recording : recordings_) {
    if (recording->kind == kind) {
      return *recording;
    }
  }
  recordings_.push_back(std::make_unique<Recording>(Recording{kind, 0, nullptr}));
  return *recordings_.back();
}

void RecordedWork::run(const Kind& kind, const std::function<void()>& work) {
  if (!enabled_) {
    return work();
  }
  Recording& recording = recording_of(kind);
  if (!recording.graph && recording.direct_runs++ < kDirectRuns) {
    return work();
  }
  if (!recording.graph) {
    try {
      record(recording, work);
    } catch (const std::exception& error) {
      const std::string text = error.what();
      spdlog::warn("the work of a micro-batch is started call by call: it can't be recorded as a CUDA graph ({})",
                   text.substr(0, text.find('\n')));
      enabled_ = false;
      return work();
    }
  }
  recording.graph->replay();
}

#else

struct RecordedWork::Recording {};

void RecordedWork::run(const Kind&, const std::function<void()>& work) { work(); }

#endif

RecordedWork::RecordedWork(at::Device device, bool enabled) : enabled_(enabled && device.is_cuda()) {}

RecordedWork::~RecordedWork() = default;

}  // namespace maskedkd
