// Work on a GPU that is the same in every micro-batch, recorded once as a CUDA graph and then started by one launch: a
// thousand launches would take the host longer than a small model takes the GPU. Used by the distillation step.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace maskedkd {

class RecordedWork {
 public:
  // Which operations the work performs, and on which shapes: work of equal kinds is the same.
  using Kind = std::vector<std::int64_t>;

  // enabled: false, or a CPU: everything is executed directly.
  RecordedWork(at::Device device, bool enabled);
  ~RecordedWork();
  RecordedWork(const RecordedWork&) = delete;
  RecordedWork& operator=(const RecordedWork&) = delete;

  // false: run() executes everything directly from now on.
  bool is_enabled() const noexcept { return enabled_; }

  // Performs `work`, queued on the current stream, which must not be the default stream. The first kDirectRuns times a
  // kind is executed directly, because libraries prepare themselves then; the next time it is recorded, and from then
  // on replayed without a call of `work`. So `work` must read its inputs from, and leave its results in, memory that
  // stays the same, and must not wait for the device. Where recording is refused, a warning says so once, and work is
  // always executed directly. Both ways give the same bits. Throws what `work` throws where it is executed directly.
  void run(const Kind& kind, const std::function<void()>& work);

  static constexpr int kDirectRuns = 2;

 private:
  struct Recording;
  Recording& recording_of(const Kind& kind);
  void record(Recording& recording, const std::function<void()>& work);

  bool enabled_;
  std::vector<std::unique_ptr<Recording>> recordings_;
};

}  // namespace maskedkd
