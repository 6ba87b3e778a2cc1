// Checks the structure of an image file without decoding it: it follows a JPEG's segments to the end of the last scan,
// or a PNG's chunks with their checksums, at some GB a second. The packer checks the files that it stores unchanged in
// this way, and decodes only those for which the result is not certain, and PNGs, whose checksums don't prove that all
// pixels are present.
#pragma once

#include "maskedkd/shards/shard.hpp"

#include <cstdint>
#include <span>

namespace maskedkd {

struct ImageFileFacts {
  enum class Format { jpeg, png };
  Format format = Format::jpeg;
  RecordShape shape;         // that of read_image_shape()
  int bits = 8;              // of a sample
  bool progressive = false;  // JPEG
  bool interlaced = false;   // PNG
  bool four_inks = false;    // CMYK or YCCK, which RGB only approximates
  int orientation = 1;       // of EXIF, 1 .. 8; the decoders here and PIL ignore it
  // The structure is complete and of a usual kind: read_image_shape() gives the same shape, and a file that was cut off
  // or partly overwritten would have been detected. There may still be damage within the compressed data that leaves
  // the structure intact. false: the file may be damaged or merely unusual, and decode_image() decides.
  bool certain = false;
};

// Takes time linear in the length, and no memory. Throws Error (usage) for files that decode_image() refuses too:
// neither JPEG nor PNG, truncated, without an image, a side of 0, too many pixels; also for a PNG with a chunk before
// its header, as PIL does.
ImageFileFacts check_image_file(std::span<const std::uint8_t> file_bytes);

// Whether the file begins with JPEG's signature, and is longer than that.
bool is_jpeg(std::span<const std::uint8_t> bytes);

}  // namespace maskedkd
