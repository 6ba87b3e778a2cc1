#include "maskedkd/shards/shard_reader.hpp"

#include "maskedkd/base/host_name.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/shards/shard_tables.hpp"
#include "shard_files.hpp"

#include <algorithm>
#include <cstring>

namespace maskedkd {
namespace {

struct OpenShard {
  std::int64_t first_record = 0;
  ShardTables tables;  // its path is the original's, wherever the records are read from
};

// The file that a record came from; empty where the shard doesn't name it, or its names can't be trusted because it no
// longer has the frame that the index describes.
std::string source_of(const std::filesystem::path& path, const ShardIndexEntry& entry, std::int64_t record) {
  try {
    if (frame_digest(path, entry) == entry.frame_sha256) {
      const RecordNames names = read_record_names(path, entry.num_records);
      return names.size() == 0 ? "" : std::string(names[static_cast<std::size_t>(record)]);
    }
  } catch (const Error&) {  // NOLINT(bugprone-empty-catch): the caller is about to report what is wrong with the shard
  }
  return "";
}

// Appends the number of values, and the values.
template <typename T>
void append(std::string& bytes, std::span<const T> values) {
  const std::uint64_t count = values.size();
  bytes.append(reinterpret_cast<const char*>(&count), sizeof count);
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

// The inverse: removes them from the beginning. Throws Error.
template <typename Values>
Values take(std::string_view& bytes) {
  constexpr std::size_t kSize = sizeof(typename Values::value_type);
  std::uint64_t count = 0;
  const auto require = [&](bool holds) {
    if (!holds) {
      throw Error("the tables of a set end too early");
    }
  };
  require(bytes.size() >= sizeof count);
  std::memcpy(&count, bytes.data(), sizeof count);
  bytes.remove_prefix(sizeof count);
  require(count <= bytes.size() / kSize);
  Values values(count, {});
  std::memcpy(values.data(), bytes.data(), count * kSize);
  bytes.remove_prefix(count * kSize);
  return values;
}

}  // namespace

struct ShardSet::State {
  std::filesystem::path directory;
  ShardIndex index;
  std::vector<OpenShard> shards;

  std::unique_ptr<ShardFiles> files;

  void add(ShardTables tables) {
    const std::int64_t first = shards.empty() ? 0 : shards.back().first_record + shards.back().tables.num_records();
    shards.push_back({first, std::move(tables)});
  }
  // Once all shards are there.
  void make_files() {
    std::vector<std::filesystem::path> paths;
    for (const OpenShard& shard : shards) {
      paths.push_back(shard.tables.path());
    }
    files = std::make_unique<ShardFiles>(std::move(paths));
  }
  std::size_t shard_of(std::int64_t record) const {
    if (record < 0 || record >= index.num_records) {
      throw Error(fmt::format("record {} of {} in {}", record, index.num_records, directory.string()));
    }
    const auto after =
        std::upper_bound(shards.begin(), shards.end(), record,
                         [](std::int64_t wanted, const OpenShard& shard) { return wanted < shard.first_record; });
    return static_cast<std::size_t>(after - shards.begin()) - 1;
  }
};

ShardSet::ShardSet(const std::filesystem::path& directory, const std::function<void()>& on_shard)
    : state_(std::make_unique<State>()) {
  state_->directory = directory;
  state_->index = read_shard_index(directory);
  std::int64_t num_records = 0;
  std::vector<std::int64_t> class_counts(state_->index.class_names.size(), 0);
  for (std::size_t i = 0; i < state_->index.shards.size(); ++i) {
    ShardTables tables = open_shard(directory, state_->index, i);
    for (std::size_t c = 0; c < class_counts.size(); ++c) {
      class_counts[c] += tables.class_counts()[c];
    }
    tables.release_classes();
    num_records += tables.num_records();
    state_->add(std::move(tables));
    if (on_shard) {
      on_shard();
    }
  }
  check_set_counts(directory, state_->index, num_records, class_counts);
  state_->make_files();
}

ShardSet::ShardSet(std::unique_ptr<State> state) : state_(std::move(state)) {}

std::string ShardSet::to_bytes() const {
  std::string bytes;
  const std::string index = serialise(state_->index);
  append(bytes, std::span(index));
  for (const OpenShard& shard : state_->shards) {
    const RecordTables& tables = shard.tables.tables();
    append(bytes, std::span(tables.offsets));
    append(bytes, std::span(tables.labels));
    append(bytes, std::span(tables.checksums));
    append(bytes, std::span(tables.shapes));
  }
  return bytes;
}

ShardSet ShardSet::from_bytes(const std::filesystem::path& directory, std::string_view bytes) {
  const std::filesystem::path index = directory / kShardIndexName;
  if (!path_exists(index)) {
    throw usage_error(
        fmt::format("{} does not exist on {}, where other ranks can read it", index.string(), host_name()),
        "put the set where every node finds it under the same path");
  }
  auto state = std::make_unique<State>();
  state->directory = directory;
  state->index = parse_shard_index(take<std::string>(bytes), index);
  for (const ShardIndexEntry& entry : state->index.shards) {
    RecordTables tables;
    tables.offsets = take<std::vector<std::uint64_t>>(bytes);
    tables.labels = take<std::vector<std::int64_t>>(bytes);
    tables.checksums = take<std::vector<std::uint32_t>>(bytes);
    tables.shapes = take<std::vector<std::int32_t>>(bytes);
    state->add(ShardTables(directory / entry.name, std::move(tables), entry.bytes_offset));
  }
  state->make_files();
  return ShardSet(std::move(state));
}

ShardSet::ShardSet(ShardSet&&) noexcept = default;
ShardSet::~ShardSet() = default;

std::int64_t ShardSet::num_records() const noexcept { return state_->index.num_records; }
std::int64_t ShardSet::num_classes() const noexcept {
  return static_cast<std::int64_t>(state_->index.class_names.size());
}
const std::vector<std::string>& ShardSet::class_names() const noexcept { return state_->index.class_names; }
RecordEncoding ShardSet::encoding() const noexcept { return state_->index.encoding; }
const std::string& ShardSet::set_id() const noexcept { return state_->index.set_id; }
const std::filesystem::path& ShardSet::directory() const noexcept { return state_->directory; }

std::size_t ShardSet::num_shards() const noexcept { return state_->shards.size(); }
const ShardIndexEntry& ShardSet::shard(std::size_t shard) const { return state_->index.shards.at(shard); }

Record ShardSet::read(std::int64_t index) const {
  Record record;
  read(index, record);
  return record;
}

void ShardSet::read(std::int64_t index, Record& record) const {
  const std::size_t number = state_->shard_of(index);
  const OpenShard& shard = state_->shards[number];
  const auto i = static_cast<std::size_t>(index - shard.first_record);
  const auto read_patiently = [&](std::uint64_t offset, std::span<std::uint8_t> bytes) {
    bool ends_early = false;
    try {
      state_->files->read(number, offset, bytes, ends_early);
    } catch (const Error& error) {
      if (ends_early) {
        throw BadRecord(fmt::format("{}: {}", describe(index), error.what()), error.hint());
      }
      throw;
    }
  };
  const std::filesystem::path& original = shard.tables.path();
  const auto try_once = [&] {
    if (!shard.tables.read(i, record, read_patiently)) {
      throw BadRecord(
          fmt::format("{} has another checksum than when it was packed", describe(index)),
          fmt::format("move {} away, and start maskedkd_pack again with the same options; maskedkd_pack verify finds "
                      "all damage",
                      original.filename().string()));
    }
  };
  const std::filesystem::path read_from = state_->files->path(number);
  try {
    try_once();
  } catch (const Error& error) {
    if (read_from == original && state_->files->path(number) == original) {
      throw;
    }
    spdlog::warn("{}; reading {} instead of its copy", error.what(), original.string());
    state_->files->move(number, original);
    try_once();
  }
}

void ShardSet::will_need(std::int64_t index) const {
  const std::size_t number = state_->shard_of(index);
  const OpenShard& shard = state_->shards[number];
  const auto i = static_cast<std::size_t>(index - shard.first_record);
  state_->files->will_need(number, shard.tables.offset(i), shard.tables.num_bytes(i));
}

void ShardSet::read_bytes(std::size_t shard, std::uint64_t offset, std::span<std::uint8_t> bytes) const {
  bool ends_early = false;
  state_->files->read(shard, offset, bytes, ends_early);
}

void ShardSet::use_copy(std::size_t shard, const std::filesystem::path& copy) const {
  state_->files->move(shard, copy);
}

std::string ShardSet::describe(std::int64_t index) const {
  const std::size_t number = state_->shard_of(index);
  const std::int64_t i = index - state_->shards[number].first_record;
  const std::string source = source_of(state_->shards[number].tables.path(), state_->index.shards[number], i);
  return fmt::format("{}, record {}{}", state_->files->path(number).string(), i,
                     source.empty() ? "" : fmt::format(" ({})", printable_name(source)));
}

}  // namespace maskedkd
