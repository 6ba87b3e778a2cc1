// What can be packed: a numbered list of images with labels. A source is the same on every rank.
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
  // Names what is packed: two sources that would give other shards have other identities.
  virtual std::string identity() const = 0;
  // Of image `index` in the source itself.
  virtual std::uint64_t size_bytes(std::int64_t index) const = 0;
  // Of the record that read() makes: exact where it is the file or its pixels (whose number is read from the image's
  // header), an estimate where it is a new JPEG. 0 for an image that read() would find broken for its header.
  // Thread-safe. Throws UnreadableImage, and Error.
  virtual std::uint64_t record_bytes(std::int64_t index, const RecordOptions& options) const = 0;
  // Image `index` as a record, after it was seen to be whole. Thread-safe. Throws BrokenImage where it is not, and
  // Error.
  virtual MadeRecord read(std::int64_t index, const RecordOptions& options) const = 0;
  // The file below the source's folder; "" where images are no files.
  virtual std::string name(std::int64_t index) const = 0;
  virtual std::string describe(std::int64_t index) const = 0;
};

}  // namespace maskedkd
