// Images with labels that can be packed, numbered from 0. Every rank has the same ones.
#pragma once

#include "preprocess/record_maker.hpp"

#include <string>
#include <vector>

namespace maskedkd {

class ImageSource {
 public:
  virtual ~ImageSource() = default;
  virtual std::int64_t size() const = 0;
  virtual const std::vector<std::string>& class_names() const = 0;
  // Identifies the images: sources whose shards would differ have different identities.
  virtual std::string identity() const = 0;
  // Size of image `index` in the source.
  virtual std::uint64_t size_bytes(std::int64_t index) const = 0;
  // Size of the record that read() will make: exact for a file that is stored unchanged and for pixels (whose number is
  // read from the image's header), an estimate for a new JPEG; 0 where the header is damaged, so that read() will
  // throw. Thread-safe. Throws UnreadableImage and Error.
  virtual std::uint64_t record_bytes(std::int64_t index, const RecordOptions& options) const = 0;
  // Image `index` as a record, after checking it. Thread-safe. Throws BrokenImage where it is damaged, and Error.
  virtual MadeRecord read(std::int64_t index, const RecordOptions& options) const = 0;
  // Path of the file relative to the source's folder; "" where images are not files.
  virtual std::string name(std::int64_t index) const = 0;
  // The image, for messages.
  virtual std::string describe(std::int64_t index) const = 0;
};

}  // namespace maskedkd
