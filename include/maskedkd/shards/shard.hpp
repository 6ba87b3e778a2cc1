// The shard format: what maskedkd_pack writes, shards/shard_reader.hpp reads, and a few lines of h5py can read too.
//
// A set is a directory with `shard-00000.h5`, `shard-00001.h5`, ... and, written last, `index.json`: a directory
// without it is no set. Every shard is an HDF5 file:
//
//   dataset /bytes      uint8  [total]    all records end to end; CONTIGUOUS layout, so that a record can be read at
//                                         (offset of the dataset in the file) + offsets[i] without HDF5
//   dataset /offsets    uint64 [n + 1]    record i is bytes[offsets[i] .. offsets[i + 1])
//   dataset /labels     int64  [n]        0 <= label < number of classes
//   dataset /checksums  uint32 [n]        CRC-32 (zlib) of the record's bytes
//   dataset /shapes     int32  [n, 3]     height, width, channels (1 or 3) of the image
//   dataset /name_offsets uint64 [n + 1]  (optional) record i came from the file name_bytes[name_offsets[i] ..
//   dataset /name_bytes   uint8  [...]    name_offsets[i + 1]), below the folder that was packed: any bytes but NUL
//   attribute format_version  int64       1
//   attribute encoding        string      "file": a record is a JPEG or PNG file unchanged;
//                                         "raw": uint8 pixels [height, width, channels]
//   attribute set_id          string      the same in all shards of a set: SHA-256 of what is packed and how, in
//   lower-case
//                                         hexadecimal
//   attribute shard_index     int64       0 <= shard_index < num_shards
//   attribute num_shards      int64
//   attribute table_checksum  int64       CRC-32 of offsets, labels, checksums and shapes, end to end
//   attribute name_checksum   int64       CRC-32 of name_offsets and name_bytes, end to end; where they are there
//   attribute class_names     string [C]  in the order of the labels
//   attribute class_counts    int64  [C]  records of each class in this shard
//
// index.json: {"format_version", "encoding", "set_id", "num_records", "class_names", "class_counts" (of the set),
// "shards": [{"name", "num_records", "size_bytes", "bytes_offset", "num_bytes", "frame_sha256", "sha256", "check"
// (optional: "structure", or "decode" where each image was decoded once in full), "odd" (optional: how many of the
// images were what, "gray": 17)}]}. The frame is the file without the records: all before bytes_offset and all from
// bytes_offset + num_bytes on. A reader compares its digest before HDF5 sees the file, because HDF5 may crash on damage
// instead of reporting it; the records have their own checksums. sha256 is the whole file's, as sha256sum says it. The
// files depend on the source and the options alone, not on the number of ranks or the time.
//
//   import h5py, io, PIL.Image
//   with h5py.File("shard-00000.h5") as f:
//       begin, end = f["offsets"][17:19]
//       image, label = PIL.Image.open(io.BytesIO(f["bytes"][begin:end].tobytes())), f["labels"][17]
#pragma once

#include "maskedkd/base/error.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace maskedkd {

// Packed by another version of this program: no damage.
class OtherFormat : public Error {
 public:
  using Error::Error;
};
inline constexpr const char* kOtherFormatHint =
    "use the version of maskedkd that packed it, or pack the images into another folder";

// What mends a damaged shard, and loses nothing where it is whole after all.
inline constexpr const char* kMendShard =
    "move it away, and start maskedkd_pack again with the same options: it packs what is missing";

// What mends a set whose index is damaged: without it nobody knows whose shards those are.
inline constexpr const char* kMendIndex = "pack the images again, into another folder";

inline constexpr std::int64_t kShardFormatVersion = 1;
inline constexpr std::string_view kShardIndexName = "index.json";

enum class RecordEncoding { file, raw };
std::string_view to_string(RecordEncoding encoding);
RecordEncoding parse_record_encoding(std::string_view text);  // throws Error

// What was seen of an image file before it became a record.
enum class FileCheck {
  structure,  // markers, chunks and checksums; what they can't vouch for, and every PNG, is decoded
  decode      // every image is decoded once in full
};
std::string_view to_string(FileCheck check);

struct RecordShape {
  std::int32_t height = 0;
  std::int32_t width = 0;
  std::int32_t channels = 0;
  bool operator==(const RecordShape&) const = default;
};

// Whether an image of this size is read at all: no side of 0, at most 2^28 pixels.
inline bool is_image_size(std::int64_t height, std::int64_t width) {
  constexpr std::int64_t kMostPixels = std::int64_t{1} << 28;
  return height >= 1 && width >= 1 && height <= kMostPixels / width;
}

// One image as it is stored.
struct Record {
  std::vector<std::uint8_t> bytes;
  std::int64_t label = 0;
  RecordShape shape;
};

// Where each record came from; empty for sources without files.
struct RecordNames {
  std::string text;                          // end to end
  std::vector<std::uint64_t> offsets = {0};  // [n + 1]

  std::size_t size() const noexcept { return offsets.size() - 1; }
  std::string_view operator[](std::size_t i) const {
    return std::string_view(text).substr(offsets[i], offsets[i + 1] - offsets[i]);
  }
  void append(std::string_view name) {
    text += name;
    offsets.push_back(text.size());
  }
  std::uint32_t checksum() const;
};

// What a shard holds, and what tests hand to write_shard.
struct Shard {
  RecordEncoding encoding = RecordEncoding::file;
  std::string set_id;
  std::int64_t shard_index = 0;
  std::int64_t num_shards = 0;
  std::vector<std::string> class_names;
  std::vector<std::int64_t> class_counts;
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint64_t> offsets = {0};  // [n + 1]
  std::vector<std::int64_t> labels;          // [n]
  std::vector<std::uint32_t> checksums;      // [n]
  std::vector<std::int32_t> shapes;          // [n, 3]
  RecordNames names;                         // of all records or of none; read_shard_tables leaves them

  std::int64_t num_records() const { return static_cast<std::int64_t>(labels.size()); }
  std::uint32_t table_checksum() const;
  void append(std::span<const std::uint8_t> record, std::int64_t label, const RecordShape& shape);
  // The same in the tables alone.
  void add_row(std::span<const std::uint8_t> record, std::int64_t label, const RecordShape& shape);
};

// Writes the file under a temporary name, syncs, renames. Throws Error; nothing of that name appears then. The packer
// writes with shards/shard_writer.hpp, which needs no memory for the records.
void write_shard(const std::filesystem::path& path, const Shard& shard);
// Everything but the records' bytes (Shard::bytes stays empty), validated; bytes_offset: where they begin in the file.
// For a file that may be damaged compare its frame first (see above).
// Throws Error (usage) naming the file and what is wrong with it.
Shard read_shard_tables(const std::filesystem::path& path, std::uint64_t& bytes_offset);
// None where the shard has none. Throws as read_shard_tables.
RecordNames read_record_names(const std::filesystem::path& path, std::int64_t num_records);

struct ShardIndexEntry {
  std::string name;
  std::int64_t num_records = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t bytes_offset = 0;  // of /bytes in the file
  std::uint64_t num_bytes = 0;     // of /bytes
  std::string frame_sha256;        // of the rest of the file
  std::string sha256;              // of the whole file; empty in an index that was written before this field
  std::map<std::string, std::int64_t> odd = {};  // how many of its images were "gray", "cmyk", ...
  FileCheck check = FileCheck::structure;        // of all its images; what an index without this field means
};

// What index.json says.
struct ShardIndex {
  RecordEncoding encoding = RecordEncoding::file;
  std::string set_id;
  std::int64_t num_records = 0;
  std::vector<std::string> class_names;
  std::vector<std::int64_t> class_counts;
  std::vector<ShardIndexEntry> shards;
};

std::string shard_name(std::int64_t shard_index);  // "shard-00017.h5"
// What the index says of a shard whose tables were read; and the digest in it, from the three numbers in the entry.
ShardIndexEntry describe_shard(const std::filesystem::path& path, const Shard& tables, std::uint64_t bytes_offset);
std::string frame_digest(const std::filesystem::path& path, const ShardIndexEntry& entry);
std::string serialise(const ShardIndex& index);  // JSON text
// One shard's part of it alone. Throws Error.
std::string serialise(const ShardIndexEntry& entry);
ShardIndexEntry parse_shard_entry(std::string_view text);
// Pure. The inverse, strict: shards in their order, sizes and counts that add up, digests that are ones. path: the
// file's, for messages. Throws Error (usage) in one line.
ShardIndex parse_shard_index(std::string_view text, const std::filesystem::path& path);
// Throws Error (usage). A directory without an index: says whether packing was interrupted.
ShardIndex read_shard_index(const std::filesystem::path& directory);

// The set that a user means by `directory`: the directory itself, or, where it is not a set but its subfolder `name`
// ("train", "val": the layout of the official code) is one, that subfolder.
std::filesystem::path find_set(const std::filesystem::path& directory, std::string_view name);

}  // namespace maskedkd
