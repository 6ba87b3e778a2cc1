#include "maskedkd/shards/shard_writer.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/hdf5.hpp"
#include "maskedkd/io/unfinished.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <mutex>
#include <utility>

namespace maskedkd {
namespace {

// The file without its records.
struct Frame {
  std::uint64_t bytes_offset = 0;
  std::vector<std::uint8_t> head, tail;  // the bytes before the records and after them
};

// /bytes is created first, so that its offset does not depend on anything that is written later.
Frame make_frame(const ShardHeader& header, const RecordTables& tables, const std::vector<std::int64_t>& class_counts,
                 std::uint64_t num_bytes) {
  const std::lock_guard turn(hdf5::one_at_a_time());
  const hdf5::Handle file = hdf5::create_file_in_memory();
  const std::uint64_t n = tables.labels.size();
  hdf5::create_dataset<std::uint8_t>(file, "bytes", {num_bytes});
  hdf5::write_attribute(file, "format_version", kShardFormatVersion);
  hdf5::write_attribute(file, "encoding", std::string(name_of(kRecordEncodings, header.encoding)));
  hdf5::write_attribute(file, "set_id", header.set_id);
  hdf5::write_attribute(file, "shard_index", header.shard_index);
  hdf5::write_attribute(file, "num_shards", header.num_shards);
  hdf5::write_attribute(file, "table_checksum", static_cast<std::int64_t>(tables.checksum()));
  hdf5::write_attribute(file, "class_names", std::span<const std::string>(header.class_names));
  hdf5::write_attribute(file, "class_counts", std::span<const std::int64_t>(class_counts));
  hdf5::write_dataset<std::uint64_t>(file, "offsets", tables.offsets, {tables.offsets.size()});
  hdf5::write_dataset<std::int64_t>(file, "labels", tables.labels, {n});
  hdf5::write_dataset<std::uint32_t>(file, "checksums", tables.checksums, {n});
  hdf5::write_dataset<std::int32_t>(file, "shapes", tables.shapes, {n, 3});
  if (tables.names.size() > 0) {
    const std::string& text = tables.names.text;
    hdf5::write_attribute(file, "name_checksum", static_cast<std::int64_t>(tables.names.checksum()));
    hdf5::write_dataset<std::uint64_t>(file, "name_offsets", tables.names.offsets, {tables.names.offsets.size()});
    hdf5::write_dataset<std::uint8_t>(file, "name_bytes",
                                      {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, {text.size()});
  }
  hdf5::flush(file);
  Frame frame;
  frame.bytes_offset = hdf5::describe_dataset(file, "bytes").file_offset;
  const std::uint64_t end = frame.bytes_offset + num_bytes;
  frame.head.resize(frame.bytes_offset);
  frame.tail.resize(hdf5::size_in_memory(file) - end);
  hdf5::read_from_memory(file, 0, frame.head);
  hdf5::read_from_memory(file, end, frame.tail);
  return frame;
}

// A frame of the layout that the forecast implies, with zeros for the values that are not known yet.
Frame expected_frame(const ShardHeader& header, const ShardForecast& forecast) {
  RecordTables tables;
  tables.offsets.resize(forecast.num_records + 1);
  tables.labels.resize(forecast.num_records);
  tables.checksums.resize(forecast.num_records);
  tables.shapes.resize(3 * forecast.num_records);
  if (forecast.num_name_bytes > 0) {
    tables.names.text.resize(forecast.num_name_bytes);
    tables.names.offsets.resize(forecast.num_records + 1);
  }
  return make_frame(header, tables, std::vector<std::int64_t>(header.class_names.size()), forecast.num_bytes);
}

[[noreturn]] void rethrow_as_failed_write(const std::filesystem::path& path, const Error& error) {
  throw Error(fmt::format("can't write {}: {}", path.string(), error.what()),
              error.hint().empty() ? "is the disk full?" : error.hint());
}

}  // namespace

ShardWriter::ShardWriter(std::filesystem::path path, ShardHeader header, const std::optional<ShardForecast>& forecast)
    : path_(std::move(path)),
      temporary_(unfinished_path(path_)),
      header_(std::move(header)),
      class_counts_(header_.class_names.size(), 0) {
  try {
    file_ = create_file(temporary_);
    if (forecast && forecast->num_bytes > 0) {
      Frame frame = expected_frame(header_, *forecast);
      bytes_offset_ = frame.bytes_offset;
      expected_head_ = std::move(frame.head);
      digest_.update(expected_head_);
    } else {
      bytes_offset_ = make_frame(header_, tables_, class_counts_, 1).bytes_offset;
    }
  } catch (const Error& error) {
    ::unlink(temporary_.c_str());
    rethrow_as_failed_write(path_, error);
  }
}

ShardWriter::~ShardWriter() {
  if (!finished_) {
    ::unlink(temporary_.c_str());
  }
}

void ShardWriter::append(std::span<const std::uint8_t> record, std::int64_t label, const RecordShape& shape,
                         std::string_view name) {
  const std::uint64_t begin = tables_.offsets.back();
  try {
    write_at(file_, bytes_offset_ + begin, record, temporary_);
  } catch (const Error& error) {
    rethrow_as_failed_write(path_, error);
  }
  if (!expected_head_.empty()) {
    digest_.update(record);
  }
  tables_.append(record, label, shape);
  ++class_counts_.at(static_cast<std::size_t>(label));
  if (!name.empty()) {
    tables_.names.append(name);
  }
  // Starts the writing to the disk while the next records are read, and does not wait for it.
  constexpr std::uint64_t kPiece = std::uint64_t{1} << 23;
  if (const std::uint64_t end = tables_.offsets.back(); end - flushed_ >= kPiece) {
    ::sync_file_range(file_.get(), static_cast<off_t>(bytes_offset_ + flushed_), static_cast<off_t>(end - flushed_),
                      SYNC_FILE_RANGE_WRITE);
    flushed_ = end;
  }
}

ShardIndexEntry ShardWriter::finish() {
  ShardIndexEntry entry;
  try {
    const std::uint64_t num_bytes = tables_.offsets.back();
    const Frame frame = make_frame(header_, tables_, class_counts_, num_bytes);
    if (num_bytes > 0 && frame.bytes_offset != bytes_offset_) {
      throw Error("HDF5 moved the records' dataset after its offset was read");
    }
    write_at(file_, 0, frame.head, temporary_);
    write_at(file_, frame.bytes_offset + num_bytes, frame.tail, temporary_);
    entry.name = path_.filename().string();
    entry.num_records = static_cast<std::int64_t>(tables_.labels.size());
    entry.bytes_offset = frame.bytes_offset;
    entry.num_bytes = num_bytes;
    entry.size_bytes = frame.head.size() + num_bytes + frame.tail.size();
    Sha256 frame_digest;
    frame_digest.update(frame.head);
    frame_digest.update(frame.tail);
    entry.frame_sha256 = frame_digest.hex_digest();
    if (!expected_head_.empty() && frame.head == expected_head_) {
      digest_.update(frame.tail);
      entry.sha256 = digest_.hex_digest();
    } else {
      entry.sha256 = sha256_of_file(temporary_);
    }
    sync_file(file_, temporary_);
    if (std::rename(temporary_.c_str(), path_.c_str()) != 0) {
      throw FileError("can't rename to", path_, errno);
    }
    sync_directory(path_.has_parent_path() ? path_.parent_path() : ".");
  } catch (const Error& error) {
    rethrow_as_failed_write(path_, error);
  }
  finished_ = true;
  return entry;
}

}  // namespace maskedkd
