#include "preprocess/packer.hpp"

#include "maskedkd/base/environment.hpp"
#include "maskedkd/base/host_name.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/base/progress.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/comm/rank_reports.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/unfinished.hpp"
#include "maskedkd/shards/shard_reader.hpp"
#include "preprocess/record_sizes.hpp"
#include "preprocess/shard_packer.hpp"

#include <unistd.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <set>
#include <thread>

namespace maskedkd {
namespace {

// The set whose packing is under way in a folder: finished shards of another one are hours of somebody's work.
constexpr const char* kUnderWay = ".packing";
constexpr std::chrono::seconds kLockOfLostNode(180);  // NFS 4 keeps it for 90 s by default

// A job that comes back after the loss of a node may be here before the file server lets go of that node's lock.
void take_lock(std::optional<DirectoryLock>& lock, const std::filesystem::path& directory) {
  const bool comes_back = std::atoll(environment_variable("SLURM_RESTART_COUNT").c_str()) > 0;
  const auto end = std::chrono::steady_clock::now() + kLockOfLostNode;
  for (bool told = false;; told = true) {
    try {
      lock.emplace(directory, fmt::format("maskedkd_pack on {}, process {}", host_name(), ::getpid()));
      return;
    } catch (const Error& error) {
      if (!comes_back || error.code() != ExitCode::usage) {
        throw;
      }
      if (std::chrono::steady_clock::now() > end) {
        throw Error(error.what(), error.hint(), ExitCode::requeue, error.where());
      }
      if (!told) {
        spdlog::info("{}; waiting up to {} s, as for a node that was lost", error.what(), kLockOfLostNode.count());
      }
    }
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

// A set that was damaged is to be mended: what of it still stands is noted before its index goes, so that this can be
// interrupted like any packing.
void note_what_is_whole(const PackOptions& options, const ShardIndex& index) {
  for (const ShardIndexEntry& entry : index.shards) {
    const std::filesystem::path path = options.output_dir / entry.name;
    try {
      if (!entry.sha256.empty() && is_there(path) && std::filesystem::file_size(path) == entry.size_bytes &&
          frame_digest(path, entry) == entry.frame_sha256) {
        std::uint64_t offset = 0;
        write_note(options.output_dir, index.set_id, make_note(entry, read_shard_tables(path, offset).class_counts));
      }
    } catch (const FileError&) {
      throw;                           // it may be whole
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): it is damaged, and packed again
    }
  }
}

// What is in the output folder: nothing or a part of this set, or all of it. Throws where it is another set. A set that
// lost a shard is no set any more: its index is removed, and what is missing is packed again.
bool is_packed_already(const PackOptions& options, const std::string& set_id, std::int64_t num_images) {
  const std::filesystem::path index_path = options.output_dir / kShardIndexName;
  if (!is_there(index_path)) {
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
    throw usage_error(error.what(), "choose another --output-dir, or move what that folder holds to another one");
  }
  if (index.set_id != set_id) {
    throw usage_error(
        fmt::format("{} holds another packed set", options.output_dir.string()),
        "choose another --output-dir; a set packed by an older version is packed anew into another folder");
  }
  if (!options.skip_broken && index.num_records < num_images) {
    throw usage_error(fmt::format("{} was packed with --on-broken skip and lacks {} broken images",
                                  options.output_dir.string(), num_images - index.num_records),
                      "pack with --on-broken skip, or mend those images and choose another --output-dir");
  }
  try {
    const ShardSet whole(options.output_dir);
    const auto is_decoded = [](const ShardIndexEntry& entry) { return entry.check == FileCheck::decode; };
    if (options.records.check_done() == FileCheck::structure ||
        std::all_of(index.shards.begin(), index.shards.end(), is_decoded)) {
      // Of a packing that was killed while it cleaned up.
      sweep_abandoned(options.output_dir);
      remove_notes(options.output_dir);
      remove_file(options.output_dir / kUnderWay);
      return true;
    }
    spdlog::warn("{} was packed with --check structure: decoding what is there", options.output_dir.string());
  } catch (const OtherFormat&) {
    throw;
  } catch (const Error& error) {
    if (error.code() != ExitCode::usage) {
      throw;  // what can't be read now is no damage
    }
    spdlog::warn("{}: packing what is missing", error.what());
  }
  write_file_atomically(options.output_dir / kUnderWay, set_id);
  note_what_is_whole(options, index);
  remove_file(index_path);
  sync_directory(options.output_dir);
  return false;
}

void refuse_another_unfinished(const PackOptions& options, const std::string& set_id) {
  const std::filesystem::path marker = options.output_dir / kUnderWay;
  if (!is_there(marker) || read_text_file(marker) == set_id) {
    return;
  }
  for (const std::string& name : list_directory(options.output_dir)) {
    if (is_note_name(name)) {
      throw usage_error(fmt::format("{} holds an interrupted packing of other images or with other options",
                                    options.output_dir.string()),
                        "give the same (an image that came, went or changed its size makes another set), or choose "
                        "another --output-dir");
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

// Removes what interrupted packings of other sets left here that no shard of this set will replace. Throws where there
// are shards and no sign of a packing: they are somebody's data. Call before this set's packing is marked.
void sweep_leftovers(const PackOptions& options, const std::string& set_id, std::int64_t num_shards) {
  const std::filesystem::path marker = options.output_dir / kUnderWay;
  if (is_there(marker) && read_text_file(marker) == set_id) {
    sweep_abandoned(options.output_dir);
    return;  // this set's own packing leaves no other shards
  }
  const std::vector<std::string> names = list_directory(options.output_dir);
  const bool was_interrupted = is_there(marker) || std::any_of(names.begin(), names.end(), is_note_name);
  std::set<std::string> own;
  for (std::int64_t shard = 0; shard < num_shards; ++shard) {
    own.insert(shard_name(shard));
  }
  for (const std::string& name : names) {
    if (is_shard_name(name) && !was_interrupted) {
      throw usage_error(
          fmt::format("{} holds {}, which no interrupted packing left there", options.output_dir.string(), name),
          "choose another --output-dir, or move those shards to another folder");
    }
    if (is_shard_name(name) && own.count(name) == 0) {
      spdlog::warn("removing {}, left there by another packing that was interrupted",
                   (options.output_dir / name).string());
      remove_file(options.output_dir / name);
    }
  }
  sweep_abandoned(options.output_dir);
}

PackPlan plan_of(const MpiSession& session, const ImageSource& source, const PackOptions& options) {
  if (options.plan.records_per_shard > 0) {  // whatever their sizes
    return make_plan(std::vector<std::uint64_t>(static_cast<std::size_t>(source.size())), options.plan);
  }
  return make_plan(record_sizes(session, source, options.records, options.threads, options.skip_broken), options.plan);
}

// Where the shards of a set begin, if that follows from the headers of its images: the source's identity knows only
// their files' names and sizes, and a packing that goes on must have the same layout. "" for others.
std::string layout_identity(const PackOptions& options, const PackPlan& plan) {
  const bool is_from_headers = options.records.decoded && options.plan.records_per_shard == 0;
  return is_from_headers && plan.num_shards() > 1 ? fmt::format(" | {}", fmt::join(plan.first_image, " ")) : "";
}

// Packs this rank's shards. Rank 0 shows how far all of them are, and ends when all have ended.
void pack_shards(const MpiSession& session, ShardPacker& packer, std::int64_t num_images) {
  constexpr std::chrono::milliseconds kLook(50);
  constexpr auto kReport = std::chrono::milliseconds(500);
  RankReports reports(session, 3);
  Progress progress("packing", "img", num_images, session.rank() == 0);
  const auto started = std::chrono::steady_clock::now();
  auto reported = started;
  const auto own = [&] {
    const ShardPacker::Counts counts = packer.counts();
    return std::array<double, 3>{static_cast<double>(counts.images), static_cast<double>(counts.bytes),
                                 static_cast<double>(counts.broken)};
  };
  const auto show = [&] {
    reports.receive();
    const std::vector<double> all = reports.sum();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    progress.update(static_cast<std::int64_t>(all[0]),
                    fmt::format("{}/s{}{}", size_text(all[1] / std::max(seconds, 1e-3)),
                                all[2] > 0 ? fmt::format("  {:.0f} broken", all[2]) : "",
                                session.size() > 1 ? fmt::format("  {} ranks", session.size()) : ""));
  };
  while (!packer.wait(kLook)) {
    const auto now = std::chrono::steady_clock::now();
    if (session.rank() == 0) {
      reports.report(own());
      show();
    } else if (now - reported > kReport) {
      reports.report(own());
      reported = now;
    }
  }
  reports.finish(own());
  while (session.rank() == 0 && !reports.all_finished()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    show();
  }
}

// A rank's notes as text, and back: class counts are summed before they travel.
std::string told(const ShardPacker& packer) {
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

ShardIndex make_index(const std::vector<std::string>& told_by_ranks, const PackOptions& options,
                      const ImageSource& source, const std::string& set_id, PackSummary& summary) {
  ShardIndex index;
  index.encoding = options.records.encoding();
  index.set_id = set_id;
  index.class_names = source.class_names();
  index.class_counts.assign(index.class_names.size(), 0);
  index.shards.resize(static_cast<std::size_t>(summary.num_shards));
  for (std::size_t rank = 0; rank < told_by_ranks.size(); ++rank) {
    const auto json = nlohmann::json::parse(told_by_ranks[rank]);
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
    summary.was_there = is_packed_already(options, set_id, source.size());
    if (!summary.was_there) {
      refuse_another_unfinished(options, set_id);
      sweep_leftovers(options, set_id, plan.num_shards());
      write_file_atomically(options.output_dir / kUnderWay, set_id);
    }
  }
  summary.was_there = session.broadcast(summary.was_there ? "there" : "") == "there";
  if (summary.was_there) {
    summarise(read_shard_index(options.output_dir), source.size(), summary);
    return summary;
  }
  ShardPacker packer(source, options, plan, set_id, session.rank(), session.size());
  pack_shards(session, packer, source.size());
  const ShardIndex index = make_index(session.all_gather(told(packer)), options, source, set_id, summary);
  if (index.num_records == 0) {
    throw Error(fmt::format("all {} images are broken: nothing was packed", source.size()));
  }
  if (session.rank() == 0) {
    write_file_atomically(options.output_dir / kShardIndexName, serialise(index));
    remove_notes(options.output_dir);
    remove_file(options.output_dir / kUnderWay);
    sweep_abandoned(options.output_dir);  // what was too young for it at the start
  }
  session.barrier();
  summarise(index, source.size(), summary);
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return summary;
}

}  // namespace maskedkd
