// Makes the record that a shard stores from the bytes of an image file. Pure and thread-safe.
#pragma once

#include "maskedkd/base/error.hpp"
#include "maskedkd/shards/shard.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace maskedkd {

// The image is damaged. A file that can't be opened or read is another kind of Error, which --on-broken skip does not
// ignore: that would hide a failing disk or a folder that is not mounted.
class BrokenImage : public Error {
 public:
  using Error::Error;
};

// The user has no permission to read the file; --on-broken treats it as a damaged one.
class UnreadableImage : public BrokenImage {
 public:
  using BrokenImage::BrokenImage;
};

struct RecordOptions {
  int resize = 0;        // pixels of the shorter edge; 0: images keep their size
  int quality = 95;      // of the JPEG that a resized image becomes
  bool decoded = false;  // store pixels instead of files
  FileCheck check = FileCheck::structure;

  // The check that records pass with these options: an image that is resized or stored as pixels is decoded anyway.
  FileCheck check_done() const { return passes_through() ? check : FileCheck::decode; }
  RecordEncoding encoding() const { return decoded ? RecordEncoding::raw : RecordEncoding::file; }
  bool passes_through() const { return resize == 0 && !decoded; }
  // Size of the record made from a file of `file_bytes`, unless pixels are stored: exact where files are stored
  // unchanged; else an estimate for a JPEG of a 4:3 photograph, 0.45 bytes a pixel at quality 95 and less below.
  std::uint64_t expected_bytes(std::uint64_t file_bytes) const;
  // Size of the record of an image of this shape where pixels are stored, after --resize.
  std::uint64_t decoded_bytes(const RecordShape& shape) const;
  std::string identity() const;  // of all options that change the records' bytes
  void validate() const;         // throws Error (usage)
};

struct MadeRecord {
  Record record;
  std::uint32_t odd = 0;  // one bit for each of kOddNames
};

// name: of the file, for its extension. Throws BrokenImage.
MadeRecord make_record(std::vector<std::uint8_t> file_bytes, std::string_view name, const RecordOptions& options);

}  // namespace maskedkd
