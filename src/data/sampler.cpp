#include "maskedkd/data/sampler.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/philox.hpp"

#include <limits>
#include <numeric>
#include <utility>

namespace maskedkd {
namespace {

constexpr std::int64_t kOfficialRounding = 256;  // DeiT's RASampler rounds the samples of an epoch down to this

}  // namespace

std::int64_t SamplerOptions::steps_per_epoch() const {
  const bool rounds = repeats > 1 && num_records >= kOfficialRounding;
  const std::int64_t samples = rounds ? num_records / kOfficialRounding * kOfficialRounding : num_records;
  return samples / global_batch();
}

void SamplerOptions::validate() const {
  if (micro_batch < 1 || micro_batches_per_step < 1 || repeats < 1) {
    throw usage_error("the micro-batch, the micro-batches of a step and the repeats must be at least 1");
  }
  if (num_records > std::numeric_limits<std::uint32_t>::max()) {
    throw usage_error(fmt::format("{} images are more than 4294967295, the limit", num_records));
  }
  if (micro_batch > 65536 || micro_batches_per_step > 65536) {
    throw usage_error(
        fmt::format("a step of {} micro-batches of {} images is too large", micro_batches_per_step, micro_batch),
        "at most 65,536 of each");
  }
  if (steps_per_epoch() < 1) {
    throw usage_error(
        fmt::format("{} training images are fewer than one global batch of {}", num_records, global_batch()),
        "take a smaller --batch-size");
  }
}

EpochOrder::EpochOrder(const SamplerOptions& options, std::uint32_t epoch) : options_(options) {
  options_.validate();
  permutation_.resize(static_cast<std::size_t>(options_.num_records));
  std::iota(permutation_.begin(), permutation_.end(), 0u);
  PhiloxStream random({.seed = options_.seed, .purpose = RandomPurpose::sample_order, .epoch = epoch});
  for (std::uint32_t i = static_cast<std::uint32_t>(permutation_.size()); i > 1; --i) {
    std::swap(permutation_[i - 1], permutation_[random.below(i)]);
  }
}

std::vector<std::int64_t> EpochOrder::micro_batch(std::int64_t step, int micro_batch) const {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(options_.micro_batch));
  for (int position = 0; position < options_.micro_batch; ++position) {
    const std::int64_t entry =
        options_.repeat_locality
            ? (step * options_.micro_batches_per_step + micro_batch) * options_.micro_batch + position
            : (step * options_.micro_batch + position) * options_.micro_batches_per_step + micro_batch;
    indices[position] = permutation_.at(static_cast<std::size_t>(entry / options_.repeats));
  }
  return indices;
}

}  // namespace maskedkd
