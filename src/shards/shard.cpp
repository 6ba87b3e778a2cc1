#include "maskedkd/shards/shard.hpp"

#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/hdf5.hpp"
#include "maskedkd/io/posix.hpp"
#include "shard_datasets.hpp"

#include <algorithm>
#include <mutex>

namespace maskedkd {
namespace {

template <typename T>
std::span<const std::uint8_t> bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace

std::uint32_t RecordTables::checksum() const {
  std::vector<std::uint8_t> all;
  for (const auto& table : {bytes_of(offsets), bytes_of(labels), bytes_of(checksums), bytes_of(shapes)}) {
    all.insert(all.end(), table.begin(), table.end());
  }
  return crc32_of(all);
}

void RecordTables::append(std::span<const std::uint8_t> record, std::int64_t label, const RecordShape& shape) {
  offsets.push_back(offsets.back() + record.size());
  labels.push_back(label);
  checksums.push_back(crc32_of(record));
  shapes.insert(shapes.end(), {shape.height, shape.width, shape.channels});
}

std::uint32_t RecordNames::checksum() const {
  std::vector<std::uint8_t> all(bytes_of(offsets).begin(), bytes_of(offsets).end());
  all.insert(all.end(), text.begin(), text.end());
  return crc32_of(all);
}

RecordNames read_record_names(const std::filesystem::path& path, std::int64_t num_records) {
  return name_damage_in(path, [&] {
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
      throw Error("the names' checksum is wrong");
    }
    if (names.offsets.size() != static_cast<std::size_t>(num_records) + 1 || names.offsets.front() != 0 ||
        names.offsets.back() != text.size() || !std::is_sorted(names.offsets.begin(), names.offsets.end())) {
      throw Error("the names have impossible offsets");
    }
    return names;
  });
}

std::string frame_digest(const std::filesystem::path& path, const ShardIndexEntry& entry) {
  const FileDescriptor file = open_for_reading(path);
  const std::uint64_t size = file_size_bytes(file, path);
  if (entry.bytes_offset > size || entry.num_bytes > size - entry.bytes_offset) {
    throw Error(fmt::format("{}: the records extend past the end of the file", path.string()));
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
