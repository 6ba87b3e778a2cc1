#include "preprocess/shard_packer.hpp"

#include "maskedkd/base/log.hpp"
#include "preprocess/oddity.hpp"

namespace maskedkd {

constexpr std::int64_t kBrokenNamed = 20;  // a rank; the rest is counted

ShardPacker::ShardPacker(const ImageSource& source, const PackOptions& options, const PackPlan& plan,
                         const std::string& set_id, int rank, int ranks)
    : source_(source), options_(options), plan_(plan), set_id_(set_id), stride_(ranks), next_(rank) {
  const std::int64_t own = (plan.num_shards() - rank + ranks - 1) / ranks;
  running_ = static_cast<int>(std::min<std::int64_t>(options.threads, own));
  for (int i = running_; i > 0; --i) {
    threads_.emplace_back([this] { work(); });
  }
}

ShardPacker::~ShardPacker() {
  stop_ = true;
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

ShardPacker::Counts ShardPacker::counts() const { return {images_, bytes_, broken_}; }

bool ShardPacker::wait(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  ended_.wait_for(lock, patience, [&] { return running_ == 0 || failure_ != nullptr; });
  if (failure_ != nullptr) {
    std::rethrow_exception(failure_);
  }
  return running_ == 0;
}

void ShardPacker::work() {
  std::exception_ptr failure;
  try {
    while (!stop_) {
      const std::int64_t shard = next_.fetch_add(stride_);
      if (shard >= plan_.num_shards()) {
        break;
      }
      pack_shard(shard);
    }
  } catch (...) {
    failure = std::current_exception();
    stop_ = true;
  }
  const std::lock_guard lock(mutex_);
  failure_ = failure_ != nullptr ? failure_ : failure;
  --running_;
  ended_.notify_all();
}

ShardForecast ShardPacker::forecast(std::int64_t begin, std::int64_t end) const {
  ShardForecast expected;
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t image = plan_.order[static_cast<std::size_t>(i)];
    expected.num_bytes += options_.records.expected_bytes(source_.size_bytes(image));
    expected.num_name_bytes += source_.name(image).size();
  }
  expected.num_records = static_cast<std::uint64_t>(end - begin);
  return expected;
}

void ShardPacker::pack_shard(std::int64_t shard) {
  const std::int64_t begin = plan_.first_image[static_cast<std::size_t>(shard)],
                     end = plan_.first_image[static_cast<std::size_t>(shard) + 1];
  const auto num_classes = static_cast<std::int64_t>(source_.class_names().size());
  if (const auto note = read_note_of_whole_shard(options_.output_dir, set_id_, shard, num_classes);
      note && (options_.skip_broken || note->entry.num_records == end - begin)) {
    images_ += end - begin;
    broken_ += end - begin - note->entry.num_records;
    const std::lock_guard lock(mutex_);
    notes_.push_back(*note);
    ++num_kept_;
    return;
  }
  Shard described;
  described.encoding = options_.records.encoding();
  described.set_id = set_id_;
  described.shard_index = shard;
  described.num_shards = plan_.num_shards();
  described.class_names = source_.class_names();
  ShardWriter writer(options_.output_dir / shard_name(shard), std::move(described),
                     options_.records.passes_through() ? std::optional(forecast(begin, end)) : std::nullopt);
  std::map<std::string, std::int64_t> odd;
  for (std::int64_t i = begin; i < end && !stop_; ++i) {
    const std::int64_t image = plan_.order[static_cast<std::size_t>(i)];
    try {
      const MadeRecord made = source_.read(image, options_.records);
      writer.append(made.record.bytes, made.record.label, made.record.shape, source_.name(image));
      for (std::size_t bit = 0; bit < kOddNames.size(); ++bit) {
        if ((made.odd >> bit & 1U) != 0) {
          ++odd[kOddNames[bit]];
        }
      }
    } catch (const BrokenImage& error) {
      if (!options_.skip_broken) {
        throw Error(fmt::format("{} is broken: {}", source_.describe(image), error.what()),
                    "mend or remove it, or pack with --on-broken skip", ExitCode::failure, error.where());
      }
      if (broken_++ < kBrokenNamed) {
        spdlog::warn("left out {}: {}", source_.describe(image), error.what());
      }
    }
    ++images_;
    bytes_ += static_cast<std::int64_t>(source_.size_bytes(image));
  }
  if (stop_) {
    return;
  }
  ShardIndexEntry entry = writer.finish();
  entry.odd = std::move(odd);
  ShardNote note = make_note(std::move(entry), writer.tables().class_counts);
  write_note(options_.output_dir, set_id_, note);
  const std::lock_guard lock(mutex_);
  notes_.push_back(std::move(note));
}

}  // namespace maskedkd
