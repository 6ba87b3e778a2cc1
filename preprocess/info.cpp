#include "maskedkd/base/error.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/cli/options.hpp"
#include "maskedkd/shards/shard_tables.hpp"
#include "preprocess/inspect.hpp"
#include "preprocess/pack_plan.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace maskedkd {
namespace {

constexpr std::size_t kMostClassesListed = 20;

// Counts values in bins that are bounded by the powers of the square root of two.
class Histogram {
 public:
  void add(double value) {
    const auto step = static_cast<std::size_t>(std::max(0.0, std::floor(2 * std::log2(std::max(1.0, value)) + 1e-9)));
    counts_.resize(std::max(counts_.size(), step + 1), 0);
    ++counts_[step];
  }
  template <typename Name>
  std::string bars(const Name& name) const {
    constexpr std::size_t kCells = 40;
    std::string text;
    const std::int64_t most = *std::max_element(counts_.begin(), counts_.end());
    for (std::size_t step = first(); step < counts_.size(); ++step) {
      const auto cells =
          static_cast<std::size_t>(std::ceil(static_cast<double>(counts_[step]) * kCells / static_cast<double>(most)));
      text += fmt::format("  {:>9} .. {:<9} {:>9} {}\n", name(edge(step)), name(edge(step + 1)), counts_[step],
                          std::string(cells, '#'));
    }
    return text;
  }
  nlohmann::ordered_json json() const {
    auto list = nlohmann::ordered_json::array();
    for (std::size_t step = first(); step < counts_.size(); ++step) {
      list.push_back({{"from", edge(step)}, {"below", edge(step + 1)}, {"count", counts_[step]}});
    }
    return list;
  }

 private:
  static std::int64_t edge(std::size_t step) {
    return std::llround(std::ceil(std::exp2(static_cast<double>(step) / 2) - 1e-9));
  }
  std::size_t first() const {
    return static_cast<std::size_t>(std::find_if(counts_.begin(), counts_.end(), [](auto count) { return count > 0; }) -
                                    counts_.begin());
  }
  std::vector<std::int64_t> counts_;
};

struct Info {
  ShardIndex index;
  std::uint64_t size_bytes = 0, record_bytes = 0;
  std::int64_t num_gray = 0, num_named = 0;
  std::map<std::string, std::int64_t> odd;
  Histogram bytes, shorter_edge;
  double mean_height = 0, mean_width = 0;
};

Info collect(const std::filesystem::path& directory) {
  Info info;
  info.index = read_shard_index(directory);
  double height = 0, width = 0;
  for (std::size_t i = 0; i < info.index.shards.size(); ++i) {
    const ShardIndexEntry& entry = info.index.shards[i];
    info.size_bytes += entry.size_bytes;
    info.record_bytes += entry.num_bytes;
    for (const auto& [name, count] : entry.odd) {
      info.odd[name] += count;
    }
    ShardTables shard = open_shard(directory, info.index, i);
    shard.read_names();
    info.num_named += shard.num_names();
    for (std::size_t record = 0; record < static_cast<std::size_t>(shard.num_records()); ++record) {
      const RecordShape shape = shard.shape(record);
      info.bytes.add(static_cast<double>(shard.num_bytes(record)));
      info.shorter_edge.add(std::min(shape.height, shape.width));
      height += shape.height;
      width += shape.width;
      info.num_gray += shape.channels == 1 ? 1 : 0;
    }
  }
  info.mean_height = height / static_cast<double>(info.index.num_records);
  info.mean_width = width / static_cast<double>(info.index.num_records);
  return info;
}

void print_json(const Info& info) {
  auto classes = nlohmann::ordered_json::array();
  for (std::size_t c = 0; c < info.index.class_names.size(); ++c) {
    classes.push_back({{"name", info.index.class_names[c]}, {"images", info.index.class_counts[c]}});
  }
  const nlohmann::ordered_json json = {{"set_id", info.index.set_id},
                                       {"encoding", name_of(kRecordEncodings, info.index.encoding)},
                                       {"images", info.index.num_records},
                                       {"shards", info.index.shards.size()},
                                       {"size_bytes", info.size_bytes},
                                       {"record_bytes", info.record_bytes},
                                       {"one_channel", info.num_gray},
                                       {"named", info.num_named},
                                       {"mean_height", info.mean_height},
                                       {"mean_width", info.mean_width},
                                       {"odd", info.odd},
                                       {"record_bytes_histogram", info.bytes.json()},
                                       {"shorter_edge_histogram", info.shorter_edge.json()},
                                       {"classes", classes}};
  fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

void print_text(const std::filesystem::path& directory, const Info& info) {
  const ShardIndex& index = info.index;
  fmt::print("{}\n", directory.string());
  fmt::print("  {} images of {} classes in {} shards, {}\n", index.num_records, index.class_names.size(),
             index.shards.size(), size_text(static_cast<double>(info.size_bytes)));
  fmt::print("  records: {}, {} on average, {:.0f} x {:.0f} pixels on average\n",
             index.encoding == RecordEncoding::file ? "JPEG and PNG files" : "pixels",
             size_text(static_cast<double>(info.record_bytes) / static_cast<double>(index.num_records)),
             info.mean_width, info.mean_height);
  std::string odd;
  for (const auto& [name, count] : info.odd) {
    odd += fmt::format("{} {} {}", odd.empty() ? "" : ",", count, name);
  }
  if (!odd.empty()) {
    fmt::print("  among them{}\n", odd);
  }
  std::vector<std::int64_t> counts = index.class_counts;
  std::sort(counts.begin(), counts.end());
  fmt::print("  images a class: {} to {}, median {}\n", counts.front(), counts.back(), counts[counts.size() / 2]);
  if (counts.size() <= kMostClassesListed) {
    for (std::size_t c = 0; c < counts.size(); ++c) {
      fmt::print("  {:>9} {}\n", index.class_counts[c], printable_name(index.class_names[c]));
    }
  }
  fmt::print("\nbytes of a record\n{}",
             info.bytes.bars([](std::int64_t bytes) { return size_text(static_cast<double>(bytes)); }));
  fmt::print("\npixels of the shorter edge\n{}",
             info.shorter_edge.bars([](std::int64_t pixels) { return std::to_string(pixels); }));
}

}  // namespace

int run_info_command(int argc, const char* const* argv) {
  std::filesystem::path directory;
  bool json = false;
  CommandLine line("maskedkd_pack info",
                   "Describes a packed set. Reads only its tables, so it is quick for sets of any size.",
                   "maskedkd_pack info packed/train");
  line.group("Set")
      .positional("DIR", directory, "folder of the packed set")
      .option("json", json, "print JSON instead of text");
  if (!line.parse(argc, argv)) {
    std::fputs(line.help().c_str(), stdout);
    return 0;
  }
  const Info info = collect(directory);
  json ? print_json(info) : print_text(directory, info);
  return 0;
}

}  // namespace maskedkd
