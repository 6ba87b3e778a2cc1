#include "maskedkd/shards/shard.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/hdf5.hpp"
#include "maskedkd/io/posix.hpp"

#include <algorithm>
#include <mutex>

namespace maskedkd {
namespace {

template <typename T>
std::span<const std::uint8_t> bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(T)};
}

// Where a dataset has this type, rank and length, whatever n is.
void check_dataset(const hdf5::DatasetInfo& info, const char* name, const char* type, std::size_t rank) {
  if (info.type != type || info.shape.size() != rank || !info.contiguous) {
    throw Error(fmt::format("/{} is not a contiguous {}-dimensional dataset of {}", name, rank, type));
  }
}

void validate(const Shard& shard, std::uint64_t num_bytes) {
  const std::size_t n = shard.labels.size();
  const auto require = [](bool good, const std::string& problem) {
    if (!good) {
      throw Error(problem);
    }
  };
  require(shard.offsets.size() == n + 1 && shard.checksums.size() == n && shard.shapes.size() == 3 * n,
          "its tables differ in length");
  require(shard.offsets.front() == 0 && shard.offsets.back() == num_bytes, "its offsets don't span its bytes");
  std::vector<std::int64_t> counts(shard.class_names.size(), 0);
  for (std::size_t i = 0; i < n; ++i) {
    require(shard.offsets[i] < shard.offsets[i + 1] && shard.offsets[i + 1] <= num_bytes,
            fmt::format("record {} has impossible offsets", i));
    require(shard.labels[i] >= 0 && shard.labels[i] < static_cast<std::int64_t>(counts.size()),
            fmt::format("record {} has label {}, but there are {} classes", i, shard.labels[i], counts.size()));
    ++counts[static_cast<std::size_t>(shard.labels[i])];
    const std::int64_t height = shard.shapes[3 * i], width = shard.shapes[3 * i + 1],
                       channels = shard.shapes[3 * i + 2];
    require(is_image_size(height, width) && (channels == 1 || channels == 3),
            fmt::format("record {} has an impossible shape", i));
    require(shard.encoding == RecordEncoding::file ||
                static_cast<std::uint64_t>(height * width * channels) == shard.offsets[i + 1] - shard.offsets[i],
            fmt::format("record {} is longer or shorter than its shape", i));
  }
  require(counts == shard.class_counts, "its class counts don't agree with its labels");
  require(shard.shard_index >= 0 && shard.shard_index < shard.num_shards, "its shard_index is outside num_shards");
}

}  // namespace

std::uint32_t Shard::table_checksum() const {
  std::vector<std::uint8_t> all;
  for (const auto& table : {bytes_of(offsets), bytes_of(labels), bytes_of(checksums), bytes_of(shapes)}) {
    all.insert(all.end(), table.begin(), table.end());
  }
  return crc32_of(all);
}

std::uint32_t RecordNames::checksum() const {
  std::vector<std::uint8_t> all(bytes_of(offsets).begin(), bytes_of(offsets).end());
  all.insert(all.end(), text.begin(), text.end());
  return crc32_of(all);
}

void Shard::append(std::span<const std::uint8_t> record, std::int64_t label, const RecordShape& shape) {
  bytes.insert(bytes.end(), record.begin(), record.end());
  add_row(record, label, shape);
}

void Shard::add_row(std::span<const std::uint8_t> record, std::int64_t label, const RecordShape& shape) {
  offsets.push_back(offsets.back() + record.size());
  labels.push_back(label);
  checksums.push_back(crc32_of(record));
  shapes.insert(shapes.end(), {shape.height, shape.width, shape.channels});
  class_counts.resize(class_names.size(), 0);
  ++class_counts.at(static_cast<std::size_t>(label));
}

Shard read_shard_tables(const std::filesystem::path& path, std::uint64_t& bytes_offset) {
  try {
    const std::lock_guard turn(hdf5::one_at_a_time());
    const std::uint64_t file_bytes = file_size_bytes(open_for_reading(path), path);
    const hdf5::Handle file = hdf5::open_file(path);
    const std::int64_t version = hdf5::read_integer_attribute(file, "format_version");
    if (version != kShardFormatVersion) {
      throw OtherFormat(
          fmt::format("{} has format {}, this program reads {}", path.string(), version, kShardFormatVersion),
          kOtherFormatHint, ExitCode::usage);
    }
    Shard shard;
    shard.encoding = parse_record_encoding(hdf5::read_string_attribute(file, "encoding"));
    shard.set_id = hdf5::read_string_attribute(file, "set_id");
    shard.shard_index = hdf5::read_integer_attribute(file, "shard_index");
    shard.num_shards = hdf5::read_integer_attribute(file, "num_shards");
    shard.class_names = hdf5::read_string_list_attribute(file, "class_names");
    shard.class_counts = hdf5::read_integer_list_attribute(file, "class_counts");
    const hdf5::DatasetInfo bytes = hdf5::describe_dataset(file, "bytes");
    check_dataset(bytes, "bytes", "uint8", 1);
    check_dataset(hdf5::describe_dataset(file, "shapes"), "shapes", "int32", 2);
    for (const auto& [name, type] :
         {std::pair("offsets", "uint64"), std::pair("labels", "int64"), std::pair("checksums", "uint32")}) {
      check_dataset(hdf5::describe_dataset(file, name), name, type, 1);
    }
    shard.offsets = hdf5::read_dataset<std::uint64_t>(file, "offsets");
    shard.labels = hdf5::read_dataset<std::int64_t>(file, "labels");
    shard.checksums = hdf5::read_dataset<std::uint32_t>(file, "checksums");
    shard.shapes = hdf5::read_dataset<std::int32_t>(file, "shapes");
    if (shard.offsets.empty()) {
      throw Error("it has no offsets");
    }
    if (hdf5::read_integer_attribute(file, "table_checksum") != static_cast<std::int64_t>(shard.table_checksum())) {
      throw Error("its tables don't agree with their checksum");
    }
    validate(shard, bytes.shape[0]);
    bytes_offset = bytes.file_offset;
    if (bytes.file_offset > file_bytes || bytes.shape[0] > file_bytes - bytes.file_offset) {
      throw Error("its records reach past its end");
    }
    return shard;
  } catch (const FileError&) {
    throw;  // the system's trouble: the shard may be whole
  } catch (const OtherFormat&) {
    throw;
  } catch (const Error& error) {
    throw usage_error(fmt::format("{} is no good shard: {}", path.string(), error.what()), kMendShard);
  }
}

RecordNames read_record_names(const std::filesystem::path& path, std::int64_t num_records) {
  try {
    const std::lock_guard turn(hdf5::one_at_a_time());
    const hdf5::Handle file = hdf5::open_file(path);
    RecordNames names;
    if (!hdf5::has_dataset(file, "name_offsets")) {
      return names;
    }
    check_dataset(hdf5::describe_dataset(file, "name_offsets"), "name_offsets", "uint64", 1);
    check_dataset(hdf5::describe_dataset(file, "name_bytes"), "name_bytes", "uint8", 1);
    names.offsets = hdf5::read_dataset<std::uint64_t>(file, "name_offsets");
    const std::vector<std::uint8_t> text = hdf5::read_dataset<std::uint8_t>(file, "name_bytes");
    names.text.assign(text.begin(), text.end());
    if (hdf5::read_integer_attribute(file, "name_checksum") != static_cast<std::int64_t>(names.checksum())) {
      throw Error("its names don't agree with their checksum");
    }
    if (names.offsets.size() != static_cast<std::size_t>(num_records) + 1 || names.offsets.front() != 0 ||
        names.offsets.back() != text.size() || !std::is_sorted(names.offsets.begin(), names.offsets.end())) {
      throw Error("its names have impossible offsets");
    }
    return names;
  } catch (const FileError&) {
    throw;  // the system's trouble: the shard may be whole
  } catch (const Error& error) {
    throw usage_error(fmt::format("{} is no good shard: {}", path.string(), error.what()), kMendShard);
  }
}

ShardIndexEntry describe_shard(const std::filesystem::path& path, const Shard& tables, std::uint64_t bytes_offset) {
  ShardIndexEntry entry{path.filename().string(),
                        tables.num_records(),
                        std::filesystem::file_size(path),
                        bytes_offset,
                        tables.offsets.back(),
                        "",
                        "",
                        {}};
  entry.frame_sha256 = frame_digest(path, entry);
  entry.sha256 = sha256_of_file(path);
  return entry;
}

std::string frame_digest(const std::filesystem::path& path, const ShardIndexEntry& entry) {
  const FileDescriptor file = open_for_reading(path);
  const std::uint64_t size = file_size_bytes(file, path);
  if (entry.bytes_offset > size || entry.num_bytes > size - entry.bytes_offset) {
    throw Error(fmt::format("{}: its records reach past its end", path.string()));
  }
  Sha256 digest;
  std::vector<std::uint8_t> part(entry.bytes_offset);
  read_exactly(file, 0, part, path);
  digest.update(part);
  const std::uint64_t end = entry.bytes_offset + entry.num_bytes;
  part.resize(size - end);
  read_exactly(file, end, part, path);
  digest.update(part);
  return digest.hex_digest();
}

}  // namespace maskedkd
