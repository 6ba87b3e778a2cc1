#include "preprocess/verify.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/progress.hpp"
#include "maskedkd/cli/options.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/comm/rank_reports.hpp"
#include "maskedkd/comm/threads.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"
#include "preprocess/pack_plan.hpp"
#include "preprocess/packed_shard.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <exception>
#include <mutex>
#include <thread>

namespace maskedkd {
namespace {

// Small enough to be still in a core's cache when it is hashed.
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

std::vector<std::string> bad_records(const PackedShard& shard) {
  std::vector<std::string> lines;
  const FileDescriptor file = open_for_reading(shard.path);
  std::vector<std::uint8_t> record;
  for (std::size_t i = 0; i < shard.tables.labels.size(); ++i) {
    const std::uint64_t begin = shard.tables.offsets[i];
    record.resize(shard.tables.offsets[i + 1] - begin);
    std::string why = "has another checksum than when it was packed";
    try {
      read_exactly(file, shard.bytes_offset + begin, record, shard.path);
      if (crc32_of(record) == shard.tables.checksums[i]) {
        continue;
      }
    } catch (const Error& error) {
      why = fmt::format("can't be read ({})", error.what());
    }
    lines.push_back(fmt::format("{}, {}: {}", shard.path.string(), shard.describe(i), why));
  }
  return lines;
}

struct Verdict {
  std::vector<std::string> lines;
  std::int64_t bad_shards = 0;
};

// A rank's share, on its threads, while rank 0 shows how far all of them are.
Verdict verify_share(const MpiSession& session, const std::filesystem::path& directory, const ShardIndex& index,
                     int threads) {
  std::uint64_t total = 0;
  for (const ShardIndexEntry& entry : index.shards) {
    total += entry.size_bytes;
  }
  std::atomic<std::int64_t> bytes = 0, bad = 0;
  std::atomic<std::size_t> next = static_cast<std::size_t>(session.rank());
  std::atomic<int> running = threads;
  std::vector<std::vector<std::string>> found(index.shards.size());
  std::vector<std::thread> pool;
  for (int i = 0; i < threads; ++i) {
    pool.emplace_back([&] {
      for (std::size_t shard; (shard = next.fetch_add(session.size())) < index.shards.size();) {
        found[shard] = verify_shard(directory, index, shard, bytes);
        bad += found[shard].empty() ? 0 : 1;
      }
      --running;
    });
  }
  RankReports reports(session, 2);
  Progress progress("verifying", "MB", static_cast<std::int64_t>(total / 1000000), session.rank() == 0);
  const auto own = [&] {
    return std::array<double, 2>{static_cast<double>(bytes.load()), static_cast<double>(bad.load())};
  };
  const auto show = [&] {
    reports.receive();
    const std::vector<double> all = reports.sum();
    progress.update(static_cast<std::int64_t>(all[0] / 1e6),
                    all[1] > 0 ? fmt::format("{:.0f} damaged shards", all[1]) : "no damage so far");
  };
  for (int look = 0; running > 0; ++look) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (look % 20 == 19) {
      reports.report(own());
      if (session.rank() == 0) {
        show();
      }
    }
  }
  for (std::thread& thread : pool) {
    thread.join();
  }
  reports.finish(own());
  while (session.rank() == 0 && !reports.all_finished()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    show();
  }
  Verdict verdict;
  verdict.bad_shards = bad;
  for (std::vector<std::string>& lines : found) {
    verdict.lines.insert(verdict.lines.end(), lines.begin(), lines.end());
  }
  return verdict;
}

}  // namespace

std::vector<std::string> verify_shard(const std::filesystem::path& directory, const ShardIndex& index,
                                      std::size_t shard, std::atomic<std::int64_t>& bytes) {
  const ShardIndexEntry& entry = index.shards.at(shard);
  const std::filesystem::path path = directory / entry.name;
  try {
    std::error_code missing;
    const bool is_whole = !entry.sha256.empty() && std::filesystem::file_size(path, missing) == entry.size_bytes &&
                          !missing && digest_of(path, bytes) == entry.sha256;
    const PackedShard opened = open_packed_shard(directory, index, shard);
    if (is_whole) {
      return {};
    }
    std::vector<std::string> lines = bad_records(opened);
    if (lines.empty() && !entry.sha256.empty()) {
      lines.push_back(fmt::format("{}: no record is damaged, but its SHA-256 is not the index's", path.string()));
    }
    return lines;
  } catch (const std::exception& error) {
    return {error.what()};
  }
}

int run_verify_command(const MpiSession& session, int argc, const char* const* argv) {
  std::filesystem::path directory;
  int threads = 0;
  CommandLine line("maskedkd_pack verify",
                   "Reads every byte of a packed set and names every record that is damaged. Ends with 1 where one is.",
                   "srun -n 16 maskedkd_pack verify packed/train");
  line.group("Set")
      .positional("DIR", directory, "folder of the packed set")
      .option("threads", threads, "of each rank, a shard each; 0: the cores that it has");
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
  const int own_threads = threads_for_rank(session);
  const ShardIndex index = read_shard_index(directory);
  const Verdict own = verify_share(session, directory, index, threads > 0 ? threads : own_threads);
  const auto told = session.all_gather(
      nlohmann::json{own.bad_shards, own.lines}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  std::int64_t bad_shards = 0, num_lines = 0;
  std::vector<std::string> lines;
  for (const std::string& text : told) {
    const auto json = nlohmann::json::parse(text);
    bad_shards += json.at(0).get<std::int64_t>();
    for (const auto& one : json.at(1)) {
      lines.push_back(one.get<std::string>());
      ++num_lines;
    }
  }
  if (session.rank() == 0) {
    std::uint64_t total = 0;
    for (const ShardIndexEntry& entry : index.shards) {
      total += entry.size_bytes;
    }
    std::sort(lines.begin(), lines.end());
    for (const std::string& one : lines) {
      fmt::print("{}\n", one);
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    fmt::print("{} {} records in {} shards, {}, {:.2f} s, {}/s: {}\n", directory.string(), index.num_records,
               index.shards.size(), size_text(static_cast<double>(total)), seconds,
               size_text(static_cast<double>(total) / seconds),
               bad_shards == 0 ? "no damage" : fmt::format("{} lines of damage in {} shards", num_lines, bad_shards));
  }
  return bad_shards == 0 ? 0 : 1;
}

}  // namespace maskedkd
