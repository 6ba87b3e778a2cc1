// From the bytes of an image file to the record that a shard keeps. Pure: any thread, the same bytes always.
#pragma once

#include "maskedkd/base/error.hpp"
#include "maskedkd/shards/shard.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace maskedkd {

// The image itself is damaged. A file that can't be opened or read is any other Error: leaving it out would hide a disk
// that failed or a folder that is not mounted.
class BrokenImage : public Error {
 public:
  using Error::Error;
};

// The user has no permission to read the file, which --on-broken decides on as on a damaged one.
class UnreadableImage : public BrokenImage {
 public:
  using BrokenImage::BrokenImage;
};

struct RecordOptions {
  int resize = 0;        // pixels of the shorter edge; 0: as they are
  int quality = 95;      // of the JPEG that a resized image becomes
  bool decoded = false;  // pixels instead of files
  FileCheck check = FileCheck::structure;

  // What the records were seen to be, whatever was asked for.
  FileCheck check_done() const { return passes_through() ? check : FileCheck::decode; }
  RecordEncoding encoding() const { return decoded ? RecordEncoding::raw : RecordEncoding::file; }
  bool passes_through() const { return resize == 0 && !decoded; }
  // Of a record made from a file of so many bytes, where it is not decoded: exact where the file passes through; else
  // an estimate for a JPEG of a photograph of 4:3, 0.45 bytes a pixel at quality 95 and less below.
  std::uint64_t expected_bytes(std::uint64_t file_bytes) const;
  // Of the pixels of an image of this shape, after --resize: exact.
  std::uint64_t decoded_bytes(const RecordShape& shape) const;
  std::string identity() const;  // of the records' bytes
  void validate() const;         // throws Error (usage)
};

struct MadeRecord {
  Record record;
  std::uint32_t odd = 0;  // one bit for each of kOddNames
};

// name: the file's, for its ending. Throws BrokenImage.
MadeRecord make_record(std::vector<std::uint8_t> file_bytes, std::string_view name, const RecordOptions& options);

}  // namespace maskedkd
