// What can be packed: a numbered list of images with labels. A source is the same on every rank.
#pragma once

#include "maskedkd/base/error.hpp"
#include "maskedkd/images/shard.hpp"

#include <string>
#include <vector>

namespace maskedkd {

// The image itself is damaged. A file that can't be opened or read is any other Error: leaving it out would hide a disk
// that failed or a folder that is not mounted.
class BrokenImage : public Error {
 public:
  using Error::Error;
};

class ImageSource {
 public:
  virtual ~ImageSource() = default;
  virtual std::int64_t size() const = 0;
  virtual const std::vector<std::string>& class_names() const = 0;
  // Names what is packed: two sources that would give other shards have other identities.
  virtual std::string identity() const = 0;
  // Image `index` in the given encoding, decoded once in full to be sure that it can be. Throws BrokenImage where it
  // can't, and Error.
  virtual Record read(std::int64_t index, RecordEncoding encoding) const = 0;
  virtual std::string describe(std::int64_t index) const = 0;
};

}  // namespace maskedkd
