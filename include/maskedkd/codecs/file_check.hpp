// What an image file's structure tells without decoding it: a walk over a JPEG's segments to the end of the last scan,
// or a PNG's chunks with their checksums, some GB a second. The packer looks at files so that it passes on unchanged,
// and decodes only those of which this can't tell, and PNGs, whose checksums don't say that all pixels are there.
#pragma once

#include "maskedkd/shards/shard.hpp"

#include <cstdint>
#include <span>

namespace maskedkd {

struct ImageFileFacts {
  enum class Format { jpeg, png };
  Format format = Format::jpeg;
  RecordShape shape;         // as read_image_shape() gives it
  int bits = 8;              // a sample
  bool progressive = false;  // JPEG
  bool interlaced = false;   // PNG
  bool four_inks = false;    // CMYK or YCCK: only an approximation in RGB
  int orientation = 1;       // EXIF's, 1 .. 8; decoders here and PIL leave the pixels as they are stored
  // The structure is whole and of a usual kind: read_image_shape() reads the same, and what is cut off or overwritten
  // in blocks would have been seen. Damage within the compressed data, which keeps the structure, may be there all the
  // same. false: it may be damaged or only unusual, decode_image() decides.
  bool certain = false;
};

// Time linear in the length, no memory. Throws Error (usage) where decode_image() would refuse the file too: neither
// JPEG nor PNG, cut off, without an image, a side of 0, more pixels than are read. Also of a PNG with a chunk before
// its header, as PIL does.
ImageFileFacts check_image_file(std::span<const std::uint8_t> file_bytes);

}  // namespace maskedkd
