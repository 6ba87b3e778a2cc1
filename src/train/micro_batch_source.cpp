#include "maskedkd/train/micro_batch_source.hpp"

namespace maskedkd {

MicroBatchShare micro_batch_share(int micro_batches_per_step, int rank, int world_size) {
  int first = 0, last = micro_batches_per_step;
  for (; world_size % 2 == 0; world_size /= 2) {
    const int middle = first + (last - first) / 2;
    if (rank < world_size / 2) {
      last = middle;
    } else {
      first = middle;
      rank -= world_size / 2;
    }
  }
  const int length = last - first;
  return {first + length * rank / world_size, first + length * (rank + 1) / world_size};
}

MicroBatchSource::MicroBatchSource(const SamplerOptions& sampler, const MicroBatchShare& share, std::int64_t num_epochs,
                                   std::int64_t epoch, std::int64_t step)
    : sampler_(sampler),
      share_(share),
      num_epochs_(num_epochs),
      epoch_(epoch),
      step_(step),
      micro_batch_(share.first) {}

std::optional<BatchRequest> MicroBatchSource::next() {
  if (micro_batch_ == share_.last) {
    micro_batch_ = share_.first;
    ++step_;
  }
  if (step_ == sampler_.steps_per_epoch()) {
    step_ = 0;
    ++epoch_;
    order_.reset();
  }
  if (epoch_ >= num_epochs_) {
    return std::nullopt;
  }
  if (!order_) {
    order_.emplace(sampler_, static_cast<std::uint32_t>(epoch_));
  }
  BatchRequest request;
  request.epoch = static_cast<std::uint32_t>(epoch_);
  request.step = static_cast<std::uint32_t>(step_);
  request.micro_batch = static_cast<std::uint32_t>(micro_batch_);
  request.indices = order_->micro_batch(step_, micro_batch_++);
  return request;
}

}  // namespace maskedkd
