#include "preprocess/packer.hpp"

#include "maskedkd/base/environment.hpp"
#include "maskedkd/base/host_name.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/base/progress.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/unfinished.hpp"
#include "maskedkd/shards/shard_reader.hpp"
#include "maskedkd/shards/shard_tables.hpp"
#include "preprocess/record_sizes.hpp"
#include "preprocess/shard_packer.hpp"
#include "preprocess/shared_work.hpp"

#include <unistd.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <set>
#include <thread>

namespace maskedkd {
namespace {

// Marks a folder in which a set is being packed, and contains the set's id: so the finished shards of another set,
// hours of work, are not overwritten.
constexpr const char* kMarkerName = ".packing";
constexpr std::chrono::seconds kLostNodeLockTimeout(180);  // NFS 4 keeps it for 90 s by default

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// A job that is requeued after the loss of a node may start before the file server releases that node's lock.
void take_lock(std::optional<DirectoryLock>& lock, const std::filesystem::path& directory) {
  const bool is_requeued = std::atoll(environment_variable("SLURM_RESTART_COUNT").c_str()) > 0;
  const auto end = std::chrono::steady_clock::now() + kLostNodeLockTimeout;
  for (bool is_first = true;; is_first = false) {
    try {
      lock.emplace(directory, fmt::format("maskedkd_pack on {}, process {}", host_name(), ::getpid()));
      return;
    } catch (const Error& error) {
      if (!is_requeued || error.code() != ExitCode::usage) {
        throw;
      }
      if (std::chrono::steady_clock::now() > end) {
        throw Error(error.what(), error.hint(), ExitCode::requeue, error.where());
      }
      if (is_first) {
        spdlog::info("{}; waiting up to {} s, in case that is a lost node's lock", error.what(),
                     kLostNodeLockTimeout.count());
      }
    }
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

// Before a damaged set is repaired: writes a note (shard_notes.hpp) for each of its intact shards, so that the repair
// can be interrupted like any packing once the index is removed.
void write_notes_of_intact_shards(const PackOptions& options, const ShardIndex& index) {
  for (const ShardIndexEntry& entry : index.shards) {
    const std::filesystem::path path = options.output_dir / entry.name;
    try {
      if (path_exists(path) && std::filesystem::file_size(path) == entry.size_bytes &&
          frame_digest(path, entry) == entry.frame_sha256) {
        write_note(options.output_dir, index.set_id, make_note(entry, ShardTables(path).class_counts()));
      }
    } catch (const FileError&) {
      throw;                           // it may be intact
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): it is damaged, and will be packed again
    }
  }
}

// Whether the output folder contains the whole set. Throws where it contains another set. Where a shard is missing or
// damaged, it removes the index, so that the missing shards are packed again.
bool is_packed_already(const PackOptions& options, const std::string& set_id, std::int64_t num_images) {
  const std::filesystem::path index_path = options.output_dir / kShardIndexName;
  if (!path_exists(index_path)) {
    return false;
  }
  ShardIndex index;
  try {
    index = read_shard_index(options.output_dir);
  } catch (const FileError&) {
    throw;
  } catch (const OtherFormat&) {
    throw;
  } catch (const Error& error) {
    throw usage_error(error.what(), "choose another --output-dir, or move the content of that folder elsewhere");
  }
  if (index.set_id != set_id) {
    throw usage_error(fmt::format("{} contains another packed set", options.output_dir.string()),
                      "choose another --output-dir");
  }
  if (!options.skip_broken && index.num_records < num_images) {
    throw usage_error(fmt::format("{} was packed with --on-broken skip and lacks {} broken images",
                                  options.output_dir.string(), num_images - index.num_records),
                      "pack with --on-broken skip, or repair those images and choose another --output-dir");
  }
  try {
    const ShardSet valid(options.output_dir);
    const auto is_decoded = [](const ShardIndexEntry& entry) { return entry.check == FileCheck::decode; };
    if (options.records.check_done() == FileCheck::structure ||
        std::all_of(index.shards.begin(), index.shards.end(), is_decoded)) {
      // What a packing left that was killed while it cleaned up.
      sweep_abandoned(options.output_dir);
      remove_notes(options.output_dir);
      remove_file(options.output_dir / kMarkerName);
      return true;
    }
    spdlog::warn("{} was packed with --check structure: decoding its images", options.output_dir.string());
  } catch (const OtherFormat&) {
    throw;
  } catch (const Error& error) {
    if (error.code() != ExitCode::usage) {
      throw;  // a shard that can't be read now is not damaged
    }
    spdlog::warn("{}: packing what is missing", error.what());
  }
  write_file_atomically(options.output_dir / kMarkerName, set_id);
  write_notes_of_intact_shards(options, index);
  remove_file(index_path);
  sync_directory(options.output_dir);
  return false;
}

void refuse_other_unfinished_set(const PackOptions& options, const std::string& set_id) {
  const std::filesystem::path marker = options.output_dir / kMarkerName;
  if (!path_exists(marker) || read_text_file(marker) == set_id) {
    return;
  }
  for (const std::string& name : list_directory(options.output_dir)) {
    if (is_note_name(name)) {
      throw usage_error(fmt::format("{} contains an interrupted packing of other images or with other options",
                                    options.output_dir.string()),
                        "pack the same images with the same options (an image that was added, removed or changed in "
                        "size makes another set), or choose another --output-dir");
    }
  }
}

bool is_shard_name(std::string_view name) {
  constexpr std::string_view kStart = "shard-", kEnd = ".h5";
  if (name.size() <= kStart.size() + kEnd.size() || !name.starts_with(kStart) || !name.ends_with(kEnd)) {
    return false;
  }
  name.remove_prefix(kStart.size());
  name.remove_suffix(kEnd.size());
  return name.find_first_not_of("0123456789") == std::string_view::npos;
}

// Removes the shards of interrupted packings of other sets that no shard of this set will replace. Throws where there
// are shards but no sign of an interrupted packing: they are somebody's data. Call before this set's packing is marked.
void sweep_leftovers(const PackOptions& options, const std::string& set_id, std::int64_t num_shards) {
  const std::filesystem::path marker = options.output_dir / kMarkerName;
  if (path_exists(marker) && read_text_file(marker) == set_id) {
    sweep_abandoned(options.output_dir);
    return;  // this set's own packing leaves no other shards
  }
  const std::vector<std::string> names = list_directory(options.output_dir);
  const bool was_interrupted = path_exists(marker) || std::any_of(names.begin(), names.end(), is_note_name);
  std::set<std::string> own;
  for (std::int64_t shard = 0; shard < num_shards; ++shard) {
    own.insert(shard_name(shard));
  }
  for (const std::string& name : names) {
    if (is_shard_name(name) && !was_interrupted) {
      throw usage_error(
          fmt::format("{} contains {}, which no interrupted packing left there", options.output_dir.string(), name),
          "choose another --output-dir, or move those shards to another folder");
    }
    if (is_shard_name(name) && own.count(name) == 0) {
      spdlog::warn("removing {}, which another, interrupted packing left there", (options.output_dir / name).string());
      remove_file(options.output_dir / name);
    }
  }
  sweep_abandoned(options.output_dir);
}

PackPlan plan_of(const MpiSession& session, const ImageSource& source, const PackOptions& options) {
  if (options.plan.records_per_shard > 0) {  // sizes don't matter
    return make_plan(std::vector<std::uint64_t>(static_cast<std::size_t>(source.size())), options.plan);
  }
  return make_plan(record_sizes(session, source, options.records, options.threads, options.skip_broken), options.plan);
}

// The first image of each shard, where that depends on the headers of the images: the source's identity covers only the
// names and sizes of their files, and a packing that is continued must have the same layout. "" for other packings.
std::string layout_identity(const PackOptions& options, const PackPlan& plan) {
  const bool is_from_headers = options.records.decoded && options.plan.records_per_shard == 0;
  return is_from_headers && plan.num_shards() > 1 ? fmt::format(" | {}", fmt::join(plan.first_image, " ")) : "";
}

// Waits for this rank's shards, while rank 0 shows the progress of all ranks.
void wait_for_shards(const MpiSession& session, ShardPacker& packer, std::int64_t num_images) {
  Progress progress("packing", "img", num_images, session.rank() == 0);
  const auto started = std::chrono::steady_clock::now();
  wait_and_show(session,
                {[&](std::chrono::milliseconds timeout) { return packer.wait(timeout); },
                 [&] {
                   const ShardPacker::Counts counts = packer.counts();
                   return std::vector<double>{static_cast<double>(counts.images), static_cast<double>(counts.bytes),
                                              static_cast<double>(counts.broken)};
                 },
                 [&](std::span<const double> sums) {
                   const double seconds = std::max(seconds_since(started), 1e-3);
                   progress.update(static_cast<std::int64_t>(sums[0]),
                                   fmt::format("{}/s{}{}", size_text(sums[1] / seconds),
                                               sums[2] > 0 ? fmt::format("  {:.0f} broken", sums[2]) : "",
                                               session.size() > 1 ? fmt::format("  {} ranks", session.size()) : ""));
                 }});
}

// A rank's notes as JSON, with the class counts summed over its shards.
std::string serialise(const ShardPacker& packer) {
  nlohmann::json json = {{"kept", packer.num_kept()}, {"shards", nlohmann::json::array()}};
  std::map<std::int64_t, std::int64_t> counts;
  for (const ShardNote& note : packer.notes()) {
    json["shards"].push_back(serialise(note.entry));
    for (const auto& [label, count] : note.class_counts) {
      counts[label] += count;
    }
  }
  json["class_counts"] = counts;
  return json.dump();
}

// serialised: of every rank. Adds the shards that were kept to the summary.
ShardIndex make_index(const std::vector<std::string>& serialised, const PackOptions& options, const ImageSource& source,
                      const std::string& set_id, PackSummary& summary) {
  ShardIndex index;
  index.encoding = options.records.encoding();
  index.set_id = set_id;
  index.class_names = source.class_names();
  index.class_counts.assign(index.class_names.size(), 0);
  index.shards.resize(static_cast<std::size_t>(summary.num_shards));
  for (const std::string& of_rank : serialised) {
    const auto json = nlohmann::json::parse(of_rank);
    summary.num_shards_kept += json.at("kept").get<std::int64_t>();
    for (const auto& [label, count] : json.at("class_counts").get<std::map<std::int64_t, std::int64_t>>()) {
      index.class_counts.at(static_cast<std::size_t>(label)) += count;
    }
    for (const auto& text : json.at("shards")) {
      ShardIndexEntry entry = parse_shard_entry(text.get<std::string>());
      index.num_records += entry.num_records;
      const auto at = static_cast<std::size_t>(std::stoll(entry.name.substr(entry.name.find('-') + 1)));
      index.shards.at(at) = std::move(entry);
    }
  }
  return index;
}

void summarise(const ShardIndex& index, std::int64_t num_listed, PackSummary& summary) {
  summary.num_images = index.num_records;
  summary.num_broken = num_listed - index.num_records;
  for (const ShardIndexEntry& entry : index.shards) {
    summary.size_bytes += entry.size_bytes;
    for (const auto& [name, count] : entry.odd) {
      summary.odd[name] += count;
    }
  }
}

}  // namespace

void PackOptions::validate() const {
  records.validate();
  if (plan.records_per_shard < 0 || plan.records_per_shard > 10'000'000) {
    throw usage_error(fmt::format("--records-per-shard {} is outside 1..10,000,000", plan.records_per_shard));
  }
  if (threads < 1 || threads > 1024) {
    throw usage_error(fmt::format("--threads {} is outside 1..1024", threads));
  }
}

PackSummary pack(const MpiSession& session, const ImageSource& source, const PackOptions& options) {
  const auto started = std::chrono::steady_clock::now();
  const PackPlan plan = plan_of(session, source, options);
  PackSummary summary;
  summary.num_classes = static_cast<std::int64_t>(source.class_names().size());
  summary.num_shards = plan.num_shards();
  const std::string set_id =
      sha256_of_text(fmt::format("{} | {} | {}{}", options.records.identity(), options.plan.identity(),
                                 source.identity(), layout_identity(options, plan)));

  std::optional<DirectoryLock> lock;
  if (session.rank() == 0) {
    create_writable_directory(options.output_dir);
    take_lock(lock, options.output_dir);
    summary.already_packed = is_packed_already(options, set_id, source.size());
    if (!summary.already_packed) {
      refuse_other_unfinished_set(options, set_id);
      sweep_leftovers(options, set_id, plan.num_shards());
      write_file_atomically(options.output_dir / kMarkerName, set_id);
    }
  }
  const Peers peers = peers_of(session);
  summary.already_packed =
      peers.from_rank_zero([&] { return std::string(summary.already_packed ? "yes" : ""); }) == "yes";
  if (summary.already_packed) {
    summarise(read_shared_index(peers, options.output_dir), source.size(), summary);
    return summary;
  }
  ShardPacker packer(source, options, plan, set_id, session.rank(), session.size());
  wait_for_shards(session, packer, source.size());
  const ShardIndex index = make_index(peers.all_gather(serialise(packer)), options, source, set_id, summary);
  if (index.num_records == 0) {
    throw Error(fmt::format("all {} images are broken: nothing was packed", source.size()));
  }
  if (session.rank() == 0) {
    write_file_atomically(options.output_dir / kShardIndexName, serialise(index));
    remove_notes(options.output_dir);
    remove_file(options.output_dir / kMarkerName);
    sweep_abandoned(options.output_dir);  // files that were too recent at the start
  }
  session.barrier();
  summarise(index, source.size(), summary);
  summary.seconds = seconds_since(started);
  return summary;
}

}  // namespace maskedkd
