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

// The file without its records: what lies before them and what lies after.
struct Frame {
  std::uint64_t bytes_offset = 0;
  std::vector<std::uint8_t> head, tail;
};

// /bytes comes first: where it lies depends on nothing that is written later.
Frame make_frame(const Shard& tables, std::uint64_t num_bytes) {
  const std::lock_guard turn(hdf5::one_at_a_time());
  const hdf5::Handle file = hdf5::create_file_in_memory();
  const std::uint64_t n = tables.labels.size();
  std::vector<std::int64_t> counts = tables.class_counts;
  counts.resize(tables.class_names.size(), 0);
  hdf5::create_dataset<std::uint8_t>(file, "bytes", {num_bytes});
  hdf5::write_attribute(file, "format_version", kShardFormatVersion);
  hdf5::write_attribute(file, "encoding", std::string(to_string(tables.encoding)));
  hdf5::write_attribute(file, "set_id", tables.set_id);
  hdf5::write_attribute(file, "shard_index", tables.shard_index);
  hdf5::write_attribute(file, "num_shards", tables.num_shards);
  hdf5::write_attribute(file, "table_checksum", static_cast<std::int64_t>(tables.table_checksum()));
  hdf5::write_attribute(file, "class_names", std::span<const std::string>(tables.class_names));
  hdf5::write_attribute(file, "class_counts", std::span<const std::int64_t>(counts));
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

// A frame of the same layout: its values, which are not known yet, are zeros.
Frame foreseen_frame(Shard tables, const ShardForecast& forecast) {
  tables.offsets.resize(forecast.num_records + 1);
  tables.labels.resize(forecast.num_records);
  tables.checksums.resize(forecast.num_records);
  tables.shapes.resize(3 * forecast.num_records);
  if (forecast.num_name_bytes > 0) {
    tables.names.text.resize(forecast.num_name_bytes);
    tables.names.offsets.resize(forecast.num_records + 1);
  }
  return make_frame(tables, forecast.num_bytes);
}

void put_in_place(const FileDescriptor& file, const std::filesystem::path& temporary,
                  const std::filesystem::path& path) {
  sync_file(file, temporary);
  if (std::rename(temporary.c_str(), path.c_str()) != 0) {
    throw FileError("can't put in its place", path, errno);
  }
  sync_directory(path.has_parent_path() ? path.parent_path() : ".");
}

[[noreturn]] void can_not_write(const std::filesystem::path& path, const Error& error) {
  throw Error(fmt::format("can't write {}: {}", path.string(), error.what()),
              error.hint().empty() ? "is the disk full?" : error.hint());
}

}  // namespace

ShardWriter::ShardWriter(std::filesystem::path path, Shard described, const std::optional<ShardForecast>& forecast)
    : path_(std::move(path)), temporary_(unfinished_path(path_)), tables_(std::move(described)) {
  try {
    file_ = create_file(temporary_);
    if (forecast && forecast->num_bytes > 0) {
      Frame frame = foreseen_frame(tables_, *forecast);
      bytes_offset_ = frame.bytes_offset;
      foreseen_head_ = std::move(frame.head);
      digest_.update(foreseen_head_);
    } else {
      bytes_offset_ = make_frame(tables_, 1).bytes_offset;
    }
  } catch (const Error& error) {
    ::unlink(temporary_.c_str());
    can_not_write(path_, error);
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
    can_not_write(path_, error);
  }
  if (!foreseen_head_.empty()) {
    digest_.update(record);
  }
  tables_.add_row(record, label, shape);
  if (!name.empty()) {
    tables_.names.append(name);
  }
  // The disk works while the next records are read; nothing waits here.
  constexpr std::uint64_t kPiece = std::uint64_t{1} << 23;
  if (const std::uint64_t end = tables_.offsets.back(); end - synced_ >= kPiece) {
    ::sync_file_range(file_.get(), static_cast<off_t>(bytes_offset_ + synced_), static_cast<off_t>(end - synced_),
                      SYNC_FILE_RANGE_WRITE);
    synced_ = end;
  }
}

ShardIndexEntry ShardWriter::finish() {
  ShardIndexEntry entry;
  try {
    const std::uint64_t num_bytes = tables_.offsets.back();
    const Frame frame = make_frame(tables_, num_bytes);
    if (num_bytes > 0 && frame.bytes_offset != bytes_offset_) {
      throw Error("HDF5 put the records elsewhere than it had said");
    }
    write_at(file_, 0, frame.head, temporary_);
    write_at(file_, frame.bytes_offset + num_bytes, frame.tail, temporary_);
    entry.name = path_.filename().string();
    entry.num_records = tables_.num_records();
    entry.bytes_offset = frame.bytes_offset;
    entry.num_bytes = num_bytes;
    entry.size_bytes = frame.head.size() + num_bytes + frame.tail.size();
    Sha256 frame_digest;
    frame_digest.update(frame.head);
    frame_digest.update(frame.tail);
    entry.frame_sha256 = frame_digest.hex_digest();
    if (!foreseen_head_.empty() && frame.head == foreseen_head_) {
      digest_.update(frame.tail);
      entry.sha256 = digest_.hex_digest();
    } else {
      entry.sha256 = sha256_of_file(temporary_);
    }
    put_in_place(file_, temporary_, path_);
  } catch (const Error& error) {
    can_not_write(path_, error);
  }
  finished_ = true;
  return entry;
}

void write_shard(const std::filesystem::path& path, const Shard& shard) {
  const std::filesystem::path temporary = unfinished_path(path);
  try {
    const FileDescriptor file = create_file(temporary);
    const Frame frame = make_frame(shard, shard.bytes.size());
    write_all(file, frame.head, temporary);
    write_all(file, shard.bytes, temporary);
    write_all(file, frame.tail, temporary);
    put_in_place(file, temporary, path);
  } catch (const Error& error) {
    ::unlink(temporary.c_str());
    can_not_write(path, error);
  }
}

}  // namespace maskedkd
