#include "preprocess/packer.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/base/progress.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/data/shard_reader.hpp"
#include "maskedkd/io/atomic_directory.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"

#include <unistd.h>

#include <array>
#include <chrono>
#include <optional>

namespace maskedkd {
namespace {

constexpr std::int64_t kBrokenNamed = 20;  // a rank; the rest is counted

// What is in the output folder: nothing or a part of this set, or all of it. Throws where it is another set.
bool is_packed_already(const PackOptions& options, const std::string& set_id) {
  if (!std::filesystem::exists(options.output_dir / kShardIndexName)) {
    return false;
  }
  if (read_shard_index(options.output_dir).set_id != set_id) {
    throw usage_error(fmt::format("{} holds another packed set", options.output_dir.string()),
                      "choose another --output-dir, or remove that one");
  }
  const ShardSet whole(options.output_dir);
  return true;
}

// Whether a run before left this shard whole: its tables and every record.
bool is_whole(const std::filesystem::path& path, const Shard& expected) {
  if (!std::filesystem::exists(path)) {
    return false;
  }
  try {
    std::uint64_t offset = 0;
    const Shard found = read_shard_tables(path, offset);
    if (found.set_id != expected.set_id || found.shard_index != expected.shard_index ||
        found.num_shards != expected.num_shards) {
      return false;
    }
    const FileDescriptor file = open_for_reading(path);
    std::vector<std::uint8_t> record;
    for (std::size_t i = 0; i < found.labels.size(); ++i) {
      record.resize(found.offsets[i + 1] - found.offsets[i]);
      read_exactly(file, offset + found.offsets[i], record, path);
      if (crc32_of(record) != found.checksums[i]) {
        return false;
      }
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

ShardIndex make_index(const PackOptions& options, const ImageSource& source, const std::string& set_id,
                      std::int64_t num_shards) {
  ShardIndex index;
  index.encoding = options.store;
  index.set_id = set_id;
  index.class_names = source.class_names();
  index.class_counts.assign(index.class_names.size(), 0);
  for (std::int64_t shard = 0; shard < num_shards; ++shard) {
    const std::filesystem::path path = options.output_dir / shard_name(shard);
    std::uint64_t offset = 0;
    const Shard tables = read_shard_tables(path, offset);
    index.num_records += tables.num_records();
    for (std::size_t c = 0; c < index.class_counts.size(); ++c) {
      index.class_counts[c] += tables.class_counts[c];
    }
    index.shards.push_back(describe_shard(path, tables, offset));
  }
  return index;
}

}  // namespace

void PackOptions::validate() const {
  if (records_per_shard < 1 || records_per_shard > 10'000'000) {
    throw usage_error(fmt::format("--records-per-shard {} is outside 1..10,000,000", records_per_shard));
  }
}

PackSummary pack(const MpiSession& session, const ImageSource& source, const PackOptions& options) {
  const auto started = std::chrono::steady_clock::now();
  const std::int64_t per_shard = options.records_per_shard;
  const std::int64_t num_shards = (source.size() + per_shard - 1) / per_shard;
  PackSummary summary;
  summary.num_classes = static_cast<std::int64_t>(source.class_names().size());
  summary.num_shards = num_shards;

  std::optional<DirectoryLock> lock;
  std::string set_id;
  if (session.rank() == 0) {
    set_id = sha256_of_text(
        fmt::format("{} {} {} {}", to_string(options.store), per_shard, options.skip_broken, source.identity()));
    create_writable_directory(options.output_dir);
    lock.emplace(options.output_dir, fmt::format("maskedkd_pack, process {}", ::getpid()));
    summary.was_there = is_packed_already(options, set_id);
    if (!summary.was_there) {
      sweep_unfinished(options.output_dir);
    }
  }
  const std::string decision = session.broadcast(set_id + (summary.was_there ? "1" : "0"));
  set_id = decision.substr(0, decision.size() - 1);
  summary.was_there = decision.back() == '1';

  std::int64_t num_broken = 0;
  if (!summary.was_there) {
    const std::int64_t own_shards = (num_shards - session.rank() + session.size() - 1) / session.size();
    Progress progress("packing", "img", own_shards * per_shard, session.rank() == 0);
    std::int64_t done = 0;
    for (std::int64_t i = session.rank(); i < num_shards; i += session.size()) {
      Shard shard;
      shard.encoding = options.store;
      shard.set_id = set_id;
      shard.shard_index = i;
      shard.num_shards = num_shards;
      shard.class_names = source.class_names();
      const std::int64_t begin = i * per_shard, end = std::min(source.size(), begin + per_shard);
      const std::filesystem::path path = options.output_dir / shard_name(i);
      if (is_whole(path, shard)) {
        done += end - begin;
        continue;
      }
      for (std::int64_t image = begin; image < end; ++image) {
        try {
          const Record record = source.read(image, options.store);
          shard.append(record.bytes, record.label, record.shape);
        } catch (const Error& error) {
          if (!options.skip_broken) {
            throw Error(fmt::format("{} is broken: {}", source.describe(image), error.what()),
                        "mend or remove it, or pack with --on-broken skip", ExitCode::failure, error.where());
          }
          if (num_broken++ < kBrokenNamed) {
            spdlog::warn("left out {}: {}", source.describe(image), error.what());
          }
        }
        progress.update(++done, session.size() > 1 ? fmt::format("on each of {} ranks", session.size()) : "");
      }
      write_shard(path, shard);
    }
  }
  const std::array<double, 1> broken = {static_cast<double>(num_broken)};
  for (const double count : session.all_gather(broken)) {
    summary.num_broken += static_cast<std::int64_t>(count);
  }
  std::array<double, 2> totals{};
  if (session.rank() == 0) {
    const ShardIndex index = make_index(options, source, set_id, num_shards);
    if (index.num_records == 0) {
      throw Error(fmt::format("all {} images are broken: nothing was packed", source.size()));
    }
    if (!summary.was_there) {
      write_file_atomically(options.output_dir / kShardIndexName, serialise(index));
    }
    totals[0] = static_cast<double>(index.num_records);
    for (const ShardIndexEntry& entry : index.shards) {
      totals[1] += static_cast<double>(entry.size_bytes);
    }
  }
  const std::vector<double> all = session.all_gather(totals);
  summary.num_images = static_cast<std::int64_t>(all[0]);
  summary.size_bytes = static_cast<std::uint64_t>(all[1]);
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return summary;
}

}  // namespace maskedkd
