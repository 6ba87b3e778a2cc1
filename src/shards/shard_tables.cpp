#include "maskedkd/shards/shard_tables.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/hdf5.hpp"
#include "shard_datasets.hpp"

#include <mutex>

namespace maskedkd {
namespace {

void validate(const ShardHeader& header, const RecordTables& tables, const std::vector<std::int64_t>& class_counts,
              std::uint64_t num_bytes) {
  const std::size_t n = tables.labels.size();
  const auto require = [](bool holds, const std::string& problem) {
    if (!holds) {
      throw Error(problem);
    }
  };
  require(tables.offsets.size() == n + 1 && tables.checksums.size() == n && tables.shapes.size() == 3 * n,
          "its tables differ in length");
  require(tables.offsets.front() == 0 && tables.offsets.back() == num_bytes, "its offsets don't span its bytes");
  std::vector<std::int64_t> counts(header.class_names.size(), 0);
  for (std::size_t i = 0; i < n; ++i) {
    require(tables.offsets[i] < tables.offsets[i + 1] && tables.offsets[i + 1] <= num_bytes,
            fmt::format("record {} has impossible offsets", i));
    require(tables.labels[i] >= 0 && tables.labels[i] < static_cast<std::int64_t>(counts.size()),
            fmt::format("record {} has label {}, but there are {} classes", i, tables.labels[i], counts.size()));
    ++counts[static_cast<std::size_t>(tables.labels[i])];
    const std::int64_t height = tables.shapes[3 * i], width = tables.shapes[3 * i + 1],
                       channels = tables.shapes[3 * i + 2];
    require(is_image_size(height, width) && (channels == 1 || channels == 3),
            fmt::format("record {} has an impossible shape", i));
    require(header.encoding == RecordEncoding::file ||
                static_cast<std::uint64_t>(height * width * channels) == tables.offsets[i + 1] - tables.offsets[i],
            fmt::format("the length of record {} does not match its shape", i));
  }
  require(counts == class_counts, "its class counts don't agree with its labels");
  require(header.shard_index >= 0 && header.shard_index < header.num_shards, "its shard_index is outside num_shards");
}

ShardHeader read_header(const hdf5::Handle& file, const std::filesystem::path& path) {
  const std::int64_t version = hdf5::read_integer_attribute(file, "format_version");
  if (version != kShardFormatVersion) {
    throw OtherFormat(
        fmt::format("{} has format {}, this program reads {}", path.string(), version, kShardFormatVersion),
        kOtherFormatHint, ExitCode::usage);
  }
  ShardHeader header;
  const std::string encoding = hdf5::read_string_attribute(file, "encoding");
  const std::optional<RecordEncoding> known = find_name(kRecordEncodings, encoding);
  if (!known) {
    throw Error(fmt::format("its encoding {} is unknown", quoted_name(encoding)));
  }
  header.encoding = *known;
  header.set_id = hdf5::read_string_attribute(file, "set_id");
  header.shard_index = hdf5::read_integer_attribute(file, "shard_index");
  header.num_shards = hdf5::read_integer_attribute(file, "num_shards");
  header.class_names = hdf5::read_string_list_attribute(file, "class_names");
  return header;
}

RecordTables read_tables(const hdf5::Handle& file) {
  check_dataset(hdf5::describe_dataset(file, "shapes"), "shapes", "int32", 2);
  for (const auto& [name, type] :
       {std::pair("offsets", "uint64"), std::pair("labels", "int64"), std::pair("checksums", "uint32")}) {
    check_dataset(hdf5::describe_dataset(file, name), name, type, 1);
  }
  RecordTables tables;
  tables.offsets = hdf5::read_dataset<std::uint64_t>(file, "offsets");
  tables.labels = hdf5::read_dataset<std::int64_t>(file, "labels");
  tables.checksums = hdf5::read_dataset<std::uint32_t>(file, "checksums");
  tables.shapes = hdf5::read_dataset<std::int32_t>(file, "shapes");
  if (tables.offsets.empty()) {
    throw Error("it has no offsets");
  }
  if (hdf5::read_integer_attribute(file, "table_checksum") != static_cast<std::int64_t>(tables.checksum())) {
    throw Error("the tables' checksum is wrong");
  }
  return tables;
}

}  // namespace

ShardTables::ShardTables(std::filesystem::path path) : path_(std::move(path)) {
  name_damage_in(path_, [&] {
    const std::lock_guard turn(hdf5::one_at_a_time());
    const std::uint64_t file_bytes = file_size_bytes(open_for_reading(path_), path_);
    const hdf5::Handle file = hdf5::open_file(path_);
    header_ = read_header(file, path_);
    class_counts_ = hdf5::read_integer_list_attribute(file, "class_counts");
    const hdf5::DatasetInfo bytes = hdf5::describe_dataset(file, "bytes");
    check_dataset(bytes, "bytes", "uint8", 1);
    tables_ = read_tables(file);
    validate(header_, tables_, class_counts_, bytes.shape[0]);
    bytes_offset_ = bytes.file_offset;
    if (bytes.file_offset > file_bytes || bytes.shape[0] > file_bytes - bytes.file_offset) {
      throw Error("its records extend past the end of the file");
    }
  });
}

ShardTables::ShardTables(std::filesystem::path path, RecordTables tables, std::uint64_t bytes_offset)
    : path_(std::move(path)), tables_(std::move(tables)), bytes_offset_(bytes_offset) {}

bool ShardTables::has_checksum(std::size_t i, std::span<const std::uint8_t> bytes) const noexcept {
  return crc32_of(bytes) == tables_.checksums[i];
}

bool ShardTables::read(std::size_t i, Record& record, const FileDescriptor& file) const {
  return read(i, record,
              [&](std::uint64_t begin, std::span<std::uint8_t> bytes) { read_exactly(file, begin, bytes, path_); });
}

void ShardTables::read_names() { tables_.names = read_record_names(path_, num_records()); }

const std::string& ShardTables::class_name(std::size_t i) const {
  return header_.class_names.at(static_cast<std::size_t>(label(i)));
}

std::string ShardTables::describe(std::size_t i) const {
  std::string text = fmt::format("record {}, class {}", i, quoted_name(class_name(i)));
  if (i < tables_.names.size()) {
    text += ", " + printable_name(tables_.names[i]);
  }
  return text;
}

void ShardTables::release_classes() {
  header_.class_names = {};
  class_counts_ = {};
}

ShardTables open_shard(const std::filesystem::path& directory, const ShardIndex& index, std::size_t position) {
  const ShardIndexEntry& entry = index.shards.at(position);
  const std::filesystem::path path = directory / entry.name;
  const auto refuse = [&](const std::string& why, const char* hint = kRepairShardHint) {
    return usage_error(fmt::format("{} {}", path.string(), why), hint);
  };
  std::error_code error;
  const std::uint64_t size = std::filesystem::file_size(path, error);
  if (error == std::errc::no_such_file_or_directory) {
    throw refuse("is missing",
                 "copy it there, or start maskedkd_pack again with the same options: it packs what is missing");
  }
  if (error) {
    throw FileError("can't look at", path, error.value());
  }
  if (size != entry.size_bytes) {
    throw refuse(fmt::format("has {} bytes instead of {}: it was cut or replaced", size, entry.size_bytes));
  }
  if (frame_digest(path, entry) != entry.frame_sha256) {
    throw refuse("has damaged tables, or belongs to another set");
  }
  ShardTables shard(path);
  const ShardHeader& header = shard.header();
  if (header.set_id != index.set_id) {
    throw refuse("belongs to another set");
  }
  if (header.shard_index != static_cast<std::int64_t>(position) ||
      header.num_shards != static_cast<std::int64_t>(index.shards.size()) || shard.num_records() != entry.num_records ||
      header.encoding != index.encoding || header.class_names != index.class_names ||
      shard.bytes_offset() != entry.bytes_offset || shard.num_bytes() != entry.num_bytes) {
    throw refuse("does not agree with the set's index");
  }
  return shard;
}

void check_set_counts(const std::filesystem::path& directory, const ShardIndex& index, std::int64_t num_records,
                      const std::vector<std::int64_t>& class_counts) {
  if (num_records != index.num_records || class_counts != index.class_counts) {
    throw usage_error(
        fmt::format("{}: the shards hold other numbers of images than its index says", directory.string()),
        kRepairIndexHint);
  }
}

}  // namespace maskedkd
