#include "preprocess/packer.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/base/progress.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/images/shard_reader.hpp"
#include "maskedkd/io/atomic_directory.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"

#include <unistd.h>

#include <array>
#include <chrono>
#include <optional>
#include <set>

namespace maskedkd {
namespace {

constexpr std::int64_t kBrokenNamed = 20;  // a rank; the rest is counted

// What is in the output folder: nothing or a part of this set, or all of it. Throws where it is another set. A set that
// lost a shard is no set any more: its index is removed, and what is missing is packed again.
bool is_packed_already(const PackOptions& options, const std::string& set_id, std::int64_t num_images) {
  const std::filesystem::path index_path = options.output_dir / kShardIndexName;
  if (!std::filesystem::exists(index_path)) {
    return false;
  }
  ShardIndex index;
  try {
    index = read_shard_index(options.output_dir);
  } catch (const Error& error) {
    throw usage_error(error.what(), fmt::format("remove {} and start again", index_path.string()));
  }
  if (index.set_id != set_id) {
    throw usage_error(fmt::format("{} holds another packed set", options.output_dir.string()),
                      "choose another --output-dir, or remove that one");
  }
  if (!options.skip_broken && index.num_records < num_images) {
    throw usage_error(fmt::format("{} was packed with --on-broken skip and lacks {} broken images",
                                  options.output_dir.string(), num_images - index.num_records),
                      "mend or remove those images, or pack with --on-broken skip");
  }
  try {
    const ShardSet whole(options.output_dir);
    return true;
  } catch (const Error& error) {
    spdlog::warn("{}: packing what is missing", error.what());
  }
  std::filesystem::remove(index_path);
  sync_directory(options.output_dir);
  return false;
}

// Removes what interrupted packings left here that no shard of this set will replace.
void sweep_leftovers(const PackOptions& options, std::int64_t num_shards) {
  sweep_unfinished(options.output_dir);
  std::set<std::string> own;
  for (std::int64_t shard = 0; shard < num_shards; ++shard) {
    own.insert(shard_name(shard));
  }
  for (const auto& entry : std::filesystem::directory_iterator(options.output_dir)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("shard-") && name.ends_with(".h5") && own.count(name) == 0) {
      spdlog::warn("removing {}, left there by another packing that was interrupted", entry.path().string());
      std::filesystem::remove(entry.path());
    }
  }
}

// Whether a run before left this shard whole: its tables and every record. num_images: of the list; fewer are whole
// only where broken ones may be missing.
bool is_whole(const std::filesystem::path& path, const Shard& expected, std::int64_t num_images, bool skip_broken,
              std::int64_t& num_broken) {
  if (!std::filesystem::exists(path)) {
    return false;
  }
  try {
    std::uint64_t offset = 0;
    const Shard found = read_shard_tables(path, offset);
    if (found.set_id != expected.set_id || found.shard_index != expected.shard_index ||
        found.num_shards != expected.num_shards || found.num_records() > num_images ||
        (!skip_broken && found.num_records() < num_images)) {
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
    num_broken += num_images - found.num_records();
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
    if (tables.set_id != set_id) {
      throw Error(fmt::format("{} was replaced by another packing", path.string()), "start again");
    }
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
    set_id = sha256_of_text(fmt::format("{} {} {}", to_string(options.store), per_shard, source.identity()));
    create_writable_directory(options.output_dir);
    lock.emplace(options.output_dir, fmt::format("maskedkd_pack, process {}", ::getpid()));
    summary.was_there = is_packed_already(options, set_id, source.size());
    if (!summary.was_there) {
      sweep_leftovers(options, num_shards);
    }
  }
  const std::string decision = session.broadcast(set_id + (summary.was_there ? "1" : "0"));
  set_id = decision.substr(0, decision.size() - 1);
  summary.was_there = decision.back() == '1';

  std::int64_t num_broken = 0, num_kept = 0;
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
      if (is_whole(path, shard, end - begin, options.skip_broken, num_broken)) {
        ++num_kept;
        done += end - begin;
        continue;
      }
      for (std::int64_t image = begin; image < end; ++image) {
        try {
          const Record record = source.read(image, options.store);
          shard.append(record.bytes, record.label, record.shape);
        } catch (const BrokenImage& error) {
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
  const std::array<double, 2> own = {static_cast<double>(num_broken), static_cast<double>(num_kept)};
  const std::vector<double> counts = session.all_gather(own);
  for (std::size_t rank = 0; rank < counts.size() / own.size(); ++rank) {
    summary.num_broken += static_cast<std::int64_t>(counts[2 * rank]);
    summary.num_shards_kept += static_cast<std::int64_t>(counts[2 * rank + 1]);
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
