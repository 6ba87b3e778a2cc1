// Work on a GPU that is the same in every micro-batch, recorded once as a CUDA graph and then started by one launch: a
// thousand launches would take the host longer than a small model takes the GPU. Used by the distillation step.
#pragma once

#include <c10/core/Device.h>

#include <cstddef>
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

  // Performs the stages of the work in their order, queued on the current stream, which must not be the default stream,
  // and calls after_stage with the index of each when it is queued. The first kDirectRuns times a kind is executed
  // directly, because libraries prepare themselves then; the next time it is recorded, one graph a stage, and from then
  // on replayed without a call of the stages. So they must read their inputs from, and leave their results in, memory
  // that stays the same, and must not wait for the device. Where recording is refused, a warning says so once, all
  // stages are begun again, and work is always executed directly. Both ways give the same bits. Throws what a stage
  // throws where it is executed directly.
  void run(const Kind& kind, const std::vector<std::function<void()>>& stages,
           const std::function<void(std::size_t)>& after_stage);

  // Drops all recordings and gives their memory, which nothing else can use, back to the device; they are made anew
  // when they are needed.
  void forget();

  static constexpr int kDirectRuns = 2;

 private:
  struct Recording;
  Recording& recording_of(const Kind& kind);
  void record(Recording& recording, const std::vector<std::function<void()>>& stages);

  bool enabled_;
  std::vector<std::unique_ptr<Recording>> recordings_;
};

}  // namespace maskedkd
