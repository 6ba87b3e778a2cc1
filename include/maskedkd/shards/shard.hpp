// The shard format: what maskedkd_pack writes, shards/shard_reader.hpp reads, and a few lines of h5py can read too.
//
// A set is a directory with `shard-00000.h5`, `shard-00001.h5`, ... and `index.json`, which is written last: without it
// the directory is not a set. Every shard is an HDF5 file:
//
//   dataset /bytes      uint8  [total]    the records one after another; CONTIGUOUS layout, so that a record can be
//                                         read at (offset of the dataset in the file) + offsets[i] without HDF5
//   dataset /offsets    uint64 [n + 1]    record i is bytes[offsets[i] .. offsets[i + 1])
//   dataset /labels     int64  [n]        0 <= label < number of classes
//   dataset /checksums  uint32 [n]        CRC-32 (zlib) of the record's bytes
//   dataset /shapes     int32  [n, 3]     height, width, channels (1 or 3) of the image
//   dataset /name_offsets uint64 [n + 1]  (only of images that were files) record i came from the file
//   dataset /name_bytes   uint8  [...]    name_bytes[name_offsets[i] .. name_offsets[i + 1]), a path relative to the
//                                         folder that was packed: any bytes but NUL
//   attribute format_version  int64       1
//   attribute encoding        string      "file": a record is a JPEG or PNG file unchanged;
//                                         "raw": uint8 pixels [height, width, channels]
//   attribute set_id          string      the same in all shards of a set: SHA-256, in lower-case hexadecimal digits,
//                                         of the source and the options of packing
//   attribute shard_index     int64       0 <= shard_index < num_shards
//   attribute num_shards      int64
//   attribute table_checksum  int64       CRC-32 of offsets, labels, checksums and shapes, concatenated
//   attribute name_checksum   int64       (with the names) CRC-32 of name_offsets and name_bytes, concatenated
//   attribute class_names     string [C]  in the order of the labels
//   attribute class_counts    int64  [C]  records of each class in this shard
//
// index.json: {"format_version", "encoding", "set_id", "num_records", "class_names", "class_counts" (of the set),
// "shards": [{"name", "num_records", "size_bytes", "bytes_offset", "num_bytes", "frame_sha256", "sha256", "check"
// ("structure" or "decode", see FileCheck), "odd" (how many images were of which unusual kind, as {"gray": 17}; absent
// where none was)}]}. The frame is the file without the records: all bytes before bytes_offset and all from
// bytes_offset + num_bytes on. A reader compares its digest before HDF5 opens the file, because HDF5 may crash on a
// damaged file instead of reporting an error; the records have their own checksums. sha256 is that of the whole file,
// as sha256sum prints it. The files depend only on the source and the options, not on the number of ranks or the time.
//
//   import h5py, io, PIL.Image
//   with h5py.File("shard-00000.h5") as f:
//       begin, end = f["offsets"][17:19]
//       image, label = PIL.Image.open(io.BytesIO(f["bytes"][begin:end].tobytes())), f["labels"][17]
#pragma once

#include "maskedkd/base/enum_names.hpp"
#include "maskedkd/base/error.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace maskedkd {

// The set was packed by another version of this program; it is not damaged.
class OtherFormat : public Error {
 public:
  using Error::Error;
};
inline constexpr const char* kOtherFormatHint =
    "use the version of maskedkd that packed it, or pack the images into another folder";

// The hint for a damaged shard. Moving the file away loses nothing if it proves to be intact.
inline constexpr const char* kRepairShardHint =
    "move it away, and start maskedkd_pack again with the same options: it packs what is missing";

// The hint for a damaged index: without it, nothing says which set the shards belong to.
inline constexpr const char* kRepairIndexHint = "pack the images again, into another folder";

inline constexpr std::int64_t kShardFormatVersion = 1;
inline constexpr std::string_view kShardIndexName = "index.json";

enum class RecordEncoding { file, raw };
inline constexpr EnumNames<RecordEncoding, 2> kRecordEncodings = {
    {{"file", RecordEncoding::file}, {"raw", RecordEncoding::raw}}};

// How an image file was checked before it became a record.
enum class FileCheck {
  structure,  // by its markers, chunks and checksums; a file for which these prove too little, and every PNG, is
              // decoded
  decode      // every image is decoded once in full
};
inline constexpr EnumNames<FileCheck, 2> kFileChecks = {
    {{"structure", FileCheck::structure}, {"decode", FileCheck::decode}}};

struct RecordShape {
  std::int32_t height = 0;
  std::int32_t width = 0;
  std::int32_t channels = 0;
  bool operator==(const RecordShape&) const = default;
};

// Whether images of this size are accepted: no side of 0, at most 2^28 pixels.
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

// The file that each record came from; empty for sources without files.
struct RecordNames {
  std::string text;                          // the paths one after another
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

// What the attributes of a shard say, apart from its counts and checksums.
struct ShardHeader {
  RecordEncoding encoding = RecordEncoding::file;
  std::string set_id;
  std::int64_t shard_index = 0;
  std::int64_t num_shards = 0;
  std::vector<std::string> class_names;  // in the order of the labels
};

// The datasets of a shard except /bytes. n: the number of records.
struct RecordTables {
  std::vector<std::uint64_t> offsets = {0};  // [n + 1]
  std::vector<std::int64_t> labels;          // [n]
  std::vector<std::uint32_t> checksums;      // [n]
  std::vector<std::int32_t> shapes;          // [n, 3]
  RecordNames names;                         // of all records or of none

  std::uint32_t checksum() const;  // the attribute table_checksum, which leaves out the names
  void append(std::span<const std::uint8_t> record, std::int64_t label, const RecordShape& shape);
};

// The names of the files that the shard's records came from; empty where it has none. Throws Error (usage) that names
// the shard and what is wrong with it. Compare the frame of a file that may be damaged first (see above).
RecordNames read_record_names(const std::filesystem::path& path, std::int64_t num_records);

struct ShardIndexEntry {
  std::string name;
  std::int64_t num_records = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t bytes_offset = 0;                // of /bytes in the file
  std::uint64_t num_bytes = 0;                   // of /bytes
  std::string frame_sha256;                      // of the rest of the file
  std::string sha256;                            // of the whole file
  FileCheck check = FileCheck::structure;        // that all its images passed
  std::map<std::string, std::int64_t> odd = {};  // how many of its images were "gray", "cmyk", ... (see kOddNames)
};

// The content of index.json.
struct ShardIndex {
  RecordEncoding encoding = RecordEncoding::file;
  std::string set_id;
  std::int64_t num_records = 0;
  std::vector<std::string> class_names;
  std::vector<std::int64_t> class_counts;
  std::vector<ShardIndexEntry> shards;
};

std::string shard_name(std::int64_t shard_index);  // "shard-00017.h5"
// The SHA-256 of a shard's frame, as the numbers of the entry delimit it. Throws Error.
std::string frame_digest(const std::filesystem::path& path, const ShardIndexEntry& entry);

// JSON text of the index, and of one shard's entry.
std::string serialise(const ShardIndex& index);
std::string serialise(const ShardIndexEntry& entry);
// The inverses. Pure and strict: shards are in order, sizes and counts add up, digests are 64 hexadecimal digits. path:
// the name of the file in messages. Throw Error, that of an index (usage) in one line.
ShardIndexEntry parse_shard_entry(std::string_view text);
ShardIndex parse_shard_index(std::string_view text, const std::filesystem::path& path);
// Throws Error (usage); of a directory without an index it says whether packing was interrupted.
ShardIndex read_shard_index(const std::filesystem::path& directory);

// The set that a user means by `directory`: the directory itself, or, where it is not a set but its subfolder `name`
// ("train", "val": the layout of the official code) is one, that subfolder.
std::filesystem::path find_set(const std::filesystem::path& directory, std::string_view name);

}  // namespace maskedkd
