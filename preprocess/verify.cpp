#include "preprocess/verify.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/progress.hpp"
#include "maskedkd/cli/options.hpp"
#include "maskedkd/codecs/image.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/comm/threads.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/shards/shard_tables.hpp"
#include "preprocess/pack_plan.hpp"
#include "preprocess/shared_work.hpp"
#include "preprocess/worker_threads.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <mutex>

namespace maskedkd {
namespace {

// Small enough that a piece is still in the core's cache when it is hashed.
constexpr std::uint64_t kPiece = std::uint64_t{1} << 18;

std::string digest_of(const std::filesystem::path& path, std::atomic<std::int64_t>& bytes) {
  const FileDescriptor file = open_for_reading(path);
  const std::uint64_t size = file_size_bytes(file, path);
  std::vector<std::uint8_t> piece(kPiece);
  Sha256 digest;
  for (std::uint64_t offset = 0; offset < size; offset += kPiece) {
    const std::span<std::uint8_t> part(piece.data(), std::min(kPiece, size - offset));
    read_exactly(file, offset, part, path);
    digest.update(part);
    bytes += static_cast<std::int64_t>(part.size());
  }
  return digest.hex_digest();
}

// Why a record's bytes are not an image of its shape; empty where they are.
std::string why_undecodable(const Record& record, RecordEncoding encoding) {
  try {
    const Image image = decode_record(record, encoding);
    return image.height == record.shape.height && image.width == record.shape.width
               ? ""
               : fmt::format("has {} x {} pixels instead of {} x {}", image.width, image.height, record.shape.width,
                             record.shape.height);
  } catch (const Error& error) {
    return fmt::format("can't be decoded ({})", error.what());
  }
}

// unreadable: set where a record can't be read, which says nothing about its bytes.
std::vector<std::string> bad_records(const ShardTables& shard, bool decode, bool& unreadable) {
  std::vector<std::string> lines;
  const FileDescriptor file = open_for_reading(shard.path());
  Record record;
  for (std::size_t i = 0; i < static_cast<std::size_t>(shard.num_records()); ++i) {
    std::string why;
    try {
      if (!shard.read(i, record, file)) {
        why = "has another checksum than when it was packed";
      } else if (decode) {
        why = why_undecodable(record, shard.header().encoding);
      }
    } catch (const FileError& error) {
      why = fmt::format("can't be read ({})", error.what());
      unreadable = true;
    } catch (const Error& error) {
      why = error.what();  // the file ends too early
    }
    if (!why.empty()) {
      lines.push_back(fmt::format("{}, {}: {}", shard.path().string(), shard.describe(i), why));
    }
  }
  return lines;
}

// Whether the file has the SHA-256 of the index. False also where the disk fails: the records are then read one by one,
// to find those that can't be read.
bool is_intact(const std::filesystem::path& path, const ShardIndexEntry& entry, std::atomic<std::int64_t>& bytes) {
  std::error_code missing;
  if (std::filesystem::file_size(path, missing) != entry.size_bytes || missing) {
    return false;
  }
  try {
    return digest_of(path, bytes) == entry.sha256;
  } catch (const Error&) {
    return false;
  }
}

// Totals over the shards that could be opened.
struct Counts {
  std::size_t shards = 0;
  std::int64_t records = 0;
  std::vector<std::int64_t> classes;

  void add(const Counts& other) {
    shards += other.shards;
    records += other.records;
    classes.resize(std::max(classes.size(), other.classes.size()), 0);
    for (std::size_t c = 0; c < other.classes.size(); ++c) {
      classes[c] += other.classes[c];
    }
  }
};

struct Findings {
  std::vector<std::string> problems;
  std::int64_t bad_shards = 0;
  std::int64_t unreadable_shards = 0;  // of them
  Counts counts;
};

// Verifies this rank's shards on its threads, while rank 0 shows the progress of all ranks.
Findings verify_share(const MpiSession& session, const std::filesystem::path& directory, const ShardIndex& index,
                      int num_threads, bool decode) {
  std::uint64_t total = 0;
  for (const ShardIndexEntry& entry : index.shards) {
    total += entry.size_bytes;
  }
  std::atomic<std::int64_t> bytes = 0, bad = 0, unreadable = 0;
  std::atomic<std::size_t> next = static_cast<std::size_t>(session.rank());
  std::vector<std::vector<std::string>> found(index.shards.size());
  std::mutex mutex;
  Findings findings;
  WorkerThreads threads(num_threads, [&](const std::atomic<bool>&) {
    const std::size_t shard = next.fetch_add(static_cast<std::size_t>(session.size()));
    if (shard >= index.shards.size()) {
      return false;
    }
    ShardFindings seen = verify_shard(directory, index, shard, decode, bytes);
    bad += seen.problems.empty() ? 0 : 1;
    unreadable += seen.unreadable ? 1 : 0;
    found[shard] = std::move(seen.problems);
    if (!seen.class_counts.empty()) {
      const std::lock_guard lock(mutex);
      findings.counts.add({1, index.shards[shard].num_records, seen.class_counts});
    }
    return true;
  });
  Progress progress("verifying", "MB", static_cast<std::int64_t>(total / 1000000), session.rank() == 0);
  wait_and_show(session,
                {[&](std::chrono::milliseconds timeout) { return threads.wait(timeout); },
                 [&] {
                   return std::vector<double>{static_cast<double>(bytes.load()), static_cast<double>(bad.load())};
                 },
                 [&](std::span<const double> sums) {
                   progress.update(static_cast<std::int64_t>(sums[0] / 1e6),
                                   sums[1] > 0 ? fmt::format("{:.0f} damaged shards", sums[1]) : "no damage so far");
                 }});
  findings.bad_shards = bad;
  findings.unreadable_shards = unreadable;
  for (std::vector<std::string>& problems : found) {
    findings.problems.insert(findings.problems.end(), problems.begin(), problems.end());
  }
  return findings;
}

Findings merged(const std::vector<std::string>& serialised) {
  Findings all;
  for (const std::string& text : serialised) {
    const auto json = nlohmann::json::parse(text);
    all.bad_shards += json.at("bad_shards").get<std::int64_t>();
    all.unreadable_shards += json.at("unreadable_shards").get<std::int64_t>();
    for (const auto& problem : json.at("problems")) {
      all.problems.push_back(problem.get<std::string>());
    }
    all.counts.add({json.at("shards").get<std::size_t>(), json.at("records").get<std::int64_t>(),
                    json.at("classes").get<std::vector<std::int64_t>>()});
  }
  std::sort(all.problems.begin(), all.problems.end());
  return all;
}

std::string serialise(const Findings& own) {
  const nlohmann::json json = {{"bad_shards", own.bad_shards},  {"unreadable_shards", own.unreadable_shards},
                               {"problems", own.problems},      {"shards", own.counts.shards},
                               {"records", own.counts.records}, {"classes", own.counts.classes}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string conclusion(const Findings& all, bool index_is_wrong, bool decode) {
  if (index_is_wrong) {
    return fmt::format("its index is damaged; {}", kRepairIndexHint);
  }
  if (all.bad_shards == 0) {
    return "no damage";
  }
  if (all.unreadable_shards > 0) {
    return fmt::format(
        "{} problems in {} shards, {} of which can't be read and may be intact; solve the read errors first, then "
        "verify again",
        all.problems.size(), all.bad_shards, all.unreadable_shards);
  }
  return fmt::format(
      "{} problems in {} shards; move the named shards away and start maskedkd_pack again with the same options{}",
      all.problems.size(), all.bad_shards,
      decode ? " (with --check decode --on-broken skip if images can't be decoded)" : "");
}

}  // namespace

ShardFindings verify_shard(const std::filesystem::path& directory, const ShardIndex& index, std::size_t shard,
                           bool decode, std::atomic<std::int64_t>& bytes) {
  const ShardIndexEntry& entry = index.shards.at(shard);
  const std::filesystem::path path = directory / entry.name;
  ShardFindings findings;
  try {
    const bool intact = is_intact(path, entry, bytes);
    ShardTables opened = open_shard(directory, index, shard);
    opened.read_names();
    if (!intact || decode) {
      findings.problems = bad_records(opened, decode, findings.unreadable);
    }
    if (!intact && findings.problems.empty()) {
      findings.problems.push_back(
          fmt::format("{}: no record is damaged, but the file has another SHA-256 than the index says", path.string()));
    }
    findings.class_counts = opened.class_counts();
  } catch (const std::exception& error) {
    const std::string why = error.what();
    findings.unreadable = dynamic_cast<const FileError*>(&error) != nullptr;
    findings.problems = {why.starts_with(path.string()) ? why : fmt::format("{}: {}", path.string(), why)};
  }
  return findings;
}

int run_verify_command(const MpiSession& session, int argc, const char* const* argv) {
  std::filesystem::path directory;
  int threads = 0;
  bool decode = false;
  CommandLine line(
      "maskedkd_pack verify",
      "Reads every byte of a packed set and names every damaged record. The exit code is 1 if there is one.",
      "srun -n 16 maskedkd_pack verify packed/train");
  line.group("Set")
      .positional("DIR", directory, "folder of the packed set")
      .option("decode", decode, "decode each record too: finds images that were broken before they were packed")
      .option("threads", threads, "threads of each rank, each of which reads one shard at a time; 0: one per core");
  if (!line.parse(argc, argv)) {
    if (session.rank() == 0) {
      std::fputs(line.help().c_str(), stdout);
    }
    return 0;
  }
  if (threads < 0 || threads > 1024) {
    throw usage_error(fmt::format("--threads {} is outside 0..1024", threads));
  }
  const auto started = std::chrono::steady_clock::now();
  const int cores = cores_for_rank(session);
  const Peers peers = peers_of(session);
  const ShardIndex index = read_shared_index(peers, directory);
  const Findings all = merged(
      peers.all_gather(serialise(verify_share(session, directory, index, threads > 0 ? threads : cores, decode))));
  std::string counts_differ;
  if (all.counts.shards == index.shards.size()) {
    try {
      check_set_counts(directory, index, all.counts.records, all.counts.classes);
    } catch (const Error& error) {
      counts_differ = error.what();
    }
  }
  if (session.rank() == 0) {
    std::uint64_t total = 0;
    for (const ShardIndexEntry& entry : index.shards) {
      total += entry.size_bytes;
    }
    for (const std::string& problem : all.problems) {
      fmt::print("{}\n", problem);
    }
    if (!counts_differ.empty()) {
      fmt::print("{}\n", counts_differ);
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    fmt::print("{} {} records in {} shards, {}, {:.2f} s, {}/s: {}\n", directory.string(), index.num_records,
               index.shards.size(), size_text(static_cast<double>(total)), seconds,
               size_text(static_cast<double>(total) / seconds), conclusion(all, !counts_differ.empty(), decode));
  }
  return all.bad_shards == 0 && counts_differ.empty() ? 0 : 1;
}

}  // namespace maskedkd
