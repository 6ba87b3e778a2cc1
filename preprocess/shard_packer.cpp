#include "preprocess/shard_packer.hpp"

#include "maskedkd/base/log.hpp"
#include "maskedkd/codecs/image.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/shards/shard_tables.hpp"
#include "preprocess/oddity.hpp"

namespace maskedkd {

constexpr std::int64_t kMostBrokenNamed = 20;  // by each rank; the others are only counted

ShardPacker::ShardPacker(const ImageSource& source, const PackOptions& options, const PackPlan& plan,
                         const std::string& set_id, int rank, int ranks)
    : source_(source), options_(options), plan_(plan), set_id_(set_id), stride_(ranks), next_(rank) {
  const std::int64_t own = (plan.num_shards() - rank + ranks - 1) / ranks;
  threads_.emplace(static_cast<int>(std::min<std::int64_t>(options.threads, own)),
                   [this](const std::atomic<bool>& stop) { return pack_next(stop); });
}

ShardPacker::Counts ShardPacker::counts() const { return {images_, bytes_, broken_}; }

bool ShardPacker::wait(std::chrono::milliseconds timeout) { return threads_->wait(timeout); }

bool ShardPacker::pack_next(const std::atomic<bool>& stop) {
  const std::int64_t shard = next_.fetch_add(stride_);
  if (shard >= plan_.num_shards()) {
    return false;
  }
  pack_shard(shard, stop);
  return true;
}

ShardForecast ShardPacker::forecast(std::int64_t begin, std::int64_t end) const {
  ShardForecast expected;
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t image = plan_.order[static_cast<std::size_t>(i)];
    expected.num_bytes += source_.record_bytes(image, options_.records);
    expected.num_name_bytes += source_.name(image).size();
  }
  expected.num_records = static_cast<std::uint64_t>(end - begin);
  return expected;
}

// Decodes the records of a shard that was packed with --check structure, where --check decode is asked for. Returns
// false where one can't be decoded: the shard is then packed again, which names the file.
bool ShardPacker::passes_check(ShardNote& note, const std::atomic<bool>& stop) const {
  if (options_.records.check == FileCheck::structure || note.entry.check == FileCheck::decode) {
    return true;
  }
  try {
    const std::filesystem::path path = options_.output_dir / note.entry.name;
    const ShardTables tables(path);
    const FileDescriptor file = open_for_reading(path);
    Record record;
    for (std::size_t i = 0; i < static_cast<std::size_t>(tables.num_records()); ++i) {
      if (stop || !tables.read(i, record, file)) {
        return false;
      }
      decode_image(record.bytes);
    }
  } catch (const FileError&) {
    throw;
  } catch (const Error&) {
    return false;
  }
  note.entry.check = FileCheck::decode;
  write_note(options_.output_dir, set_id_, note);
  return true;
}

void ShardPacker::pack_shard(std::int64_t shard, const std::atomic<bool>& stop) {
  const std::int64_t begin = plan_.first_image[static_cast<std::size_t>(shard)],
                     end = plan_.first_image[static_cast<std::size_t>(shard) + 1];
  const auto num_classes = static_cast<std::int64_t>(source_.class_names().size());
  if (auto note = read_note_of_intact_shard(options_.output_dir, set_id_, shard, num_classes);
      note && (options_.skip_broken || note->entry.num_records == end - begin) && passes_check(*note, stop)) {
    images_ += end - begin;
    broken_ += end - begin - note->entry.num_records;
    const std::lock_guard lock(mutex_);
    notes_.push_back(std::move(*note));
    ++num_kept_;
    return;
  }
  ShardWriter writer(options_.output_dir / shard_name(shard),
                     {options_.records.encoding(), set_id_, shard, plan_.num_shards(), source_.class_names()},
                     options_.records.passes_through() ? std::optional(forecast(begin, end)) : std::nullopt);
  std::map<std::string, std::int64_t> odd;
  for (std::int64_t i = begin; i < end && !stop; ++i) {
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
        const bool is_unreadable = dynamic_cast<const UnreadableImage*>(&error) != nullptr;
        throw Error(fmt::format("{} {}: {}", source_.describe(image), is_unreadable ? "can't be read" : "is broken",
                                error.what()),
                    is_unreadable ? "make it readable, or pack with --on-broken skip"
                                  : "pack with --on-broken skip, or repair it and choose another --output-dir",
                    ExitCode::failure, error.where());
      }
      if (broken_++ < kMostBrokenNamed) {
        spdlog::warn("left out {}: {}", source_.describe(image), error.what());
      } else if (!has_warned_of_unnamed_.exchange(true)) {
        spdlog::warn("more than {} images are broken: from here on they are left out and counted, but not named",
                     kMostBrokenNamed);
      }
    }
    ++images_;
    bytes_ += static_cast<std::int64_t>(source_.size_bytes(image));
  }
  if (stop) {
    return;
  }
  ShardIndexEntry entry = writer.finish();
  entry.odd = std::move(odd);
  entry.check = options_.records.check_done();
  ShardNote note = make_note(std::move(entry), writer.class_counts());
  write_note(options_.output_dir, set_id_, note);
  const std::lock_guard lock(mutex_);
  notes_.push_back(std::move(note));
}

}  // namespace maskedkd
