#include "maskedkd/train/recorded_work.hpp"

#include "maskedkd/base/log.hpp"
#include "maskedkd/comm/gpu_failure.hpp"

#ifdef MASKEDKD_WITH_CUDA
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#endif

#include <algorithm>
#include <exception>
#include <string>

namespace maskedkd {
namespace {

void run_directly(const std::vector<std::function<void()>>& stages,
                  const std::function<void(std::size_t)>& after_stage) {
  for (std::size_t i = 0; i < stages.size(); ++i) {
    stages[i]();
    after_stage(i);
  }
}

}  // namespace

#ifdef MASKEDKD_WITH_CUDA

struct RecordedWork::Recording {
  Kind kind;
  int direct_runs = 0;
  std::vector<std::unique_ptr<at::cuda::CUDAGraph>> graphs;  // of the stages; empty: not recorded
};

namespace {

// After a capture that was refused, LibTorch's allocators would go on as if one were under way, and free nothing where
// memory is short.
void end_allocation(c10::MempoolId_t pool) {
  const auto unless_ended = [](const auto& end) {
    try {
      end();
    } catch (const c10::Error&) {
    }
  };
  unless_ended([&] {
    const c10::DeviceIndex device = c10::cuda::current_device();
    c10::cuda::CUDACachingAllocator::endAllocateToPool(device, pool);
    c10::cuda::CUDACachingAllocator::releasePool(device, pool);
  });
  unless_ended([&] {
    at::HostAllocator* const allocator = at::getHostAllocator(at::kCUDA);
    allocator->end_allocate_to_pool(pool);
    allocator->release_pool(pool);
  });
}

std::unique_ptr<at::cuda::CUDAGraph> recorded(const std::function<void()>& stage, c10::MempoolId_t pool) {
  auto graph = std::make_unique<at::cuda::CUDAGraph>();
  std::exception_ptr failure;
  const auto attempt = [&](const std::function<void()>& what) {
    try {
      what();
    } catch (...) {
      failure = failure ? failure : std::current_exception();
    }
  };
  // Loader threads may allocate pinned memory meanwhile.
  attempt([&] { graph->capture_begin(pool, cudaStreamCaptureModeThreadLocal); });
  if (!failure) {
    attempt(stage);
    attempt([&] { graph->capture_end(); });
  }
  if (failure) {
    static_cast<void>(cudaGetLastError());  // the refusal is not an error of later calls
    end_allocation(pool);
    std::rethrow_exception(failure);
  }
  return graph;
}

}  // namespace

void RecordedWork::record(Recording& recording, const std::vector<std::function<void()>>& stages) {
  // Otherwise the memory of the direct runs would stay beside that of the recording.
  c10::cuda::CUDACachingAllocator::emptyCache();
  // All recordings use the same memory, as only one is replayed at a time and its results lie elsewhere.
  const auto other =
      std::find_if(recordings_.begin(), recordings_.end(), [](const auto& one) { return !one->graphs.empty(); });
  const c10::MempoolId_t pool =
      other == recordings_.end() ? at::cuda::graph_pool_handle() : (*other)->graphs.front()->pool();
  std::vector<std::unique_ptr<at::cuda::CUDAGraph>> graphs;
  for (const std::function<void()>& stage : stages) {
    graphs.push_back(recorded(stage, pool));
  }
  recording.graphs = std::move(graphs);
}

RecordedWork::Recording& RecordedWork::recording_of(const Kind& kind) {
  for (const std::unique_ptr<Recording>& recording : recordings_) {
    if (recording->kind == kind) {
      return *recording;
    }
  }
  recordings_.push_back(std::make_unique<Recording>(Recording{kind, 0, {}}));
  return *recordings_.back();
}

void RecordedWork::run(const Kind& kind, const std::vector<std::function<void()>>& stages,
                       const std::function<void(std::size_t)>& after_stage) {
  if (!enabled_) {
    return run_directly(stages, after_stage);
  }
  Recording& recording = recording_of(kind);
  if (recording.graphs.empty() && recording.direct_runs++ < kDirectRuns) {
    return run_directly(stages, after_stage);
  }
  if (recording.graphs.empty()) {
    try {
      record(recording, stages);
    } catch (const std::exception& error) {
      const std::string text = error.what();
      // The libraries refuse a capture with the status of a broken GPU.
      if (kind_of_failure(text) == DeviceFailure::gpu && cudaDeviceSynchronize() != cudaSuccess) {
        throw;
      }
      spdlog::warn("the work of a micro-batch is started call by call: it can't be recorded as a CUDA graph ({})",
                   text.substr(0, text.find('\n')));
      enabled_ = false;
      forget();
      return run_directly(stages, after_stage);
    }
  }
  for (std::size_t i = 0; i < recording.graphs.size(); ++i) {
    recording.graphs[i]->replay();
    after_stage(i);
  }
}

void RecordedWork::forget() {
  if (!recordings_.empty()) {
    recordings_.clear();
    c10::cuda::CUDACachingAllocator::emptyCache();
  }
}

#else

struct RecordedWork::Recording {};

void RecordedWork::forget() {}

void RecordedWork::run(const Kind&, const std::vector<std::function<void()>>& stages,
                       const std::function<void(std::size_t)>& after_stage) {
  run_directly(stages, after_stage);
}

#endif

RecordedWork::RecordedWork(at::Device device, bool enabled) : enabled_(enabled && device.is_cuda()) {}

RecordedWork::~RecordedWork() = default;

}  // namespace maskedkd
