// The IDX files of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist): magic number, sizes, bytes; big-endian;
// plain or gzip.
#pragma once

#include "preprocess/image_source.hpp"

#include <filesystem>

namespace maskedkd {

class IdxImages final : public ImageSource {
 public:
  // class_names: empty for "0", "1", ... up to the largest label. Throws Error (usage): another magic number, sizes
  // that disagree with the bytes or with each other, a truncated gzip stream, labels without a class.
  IdxImages(const std::filesystem::path& images, const std::filesystem::path& labels,
            std::vector<std::string> class_names);

  std::int64_t size() const override { return static_cast<std::int64_t>(labels_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  std::string identity() const override;
  std::uint64_t size_bytes(std::int64_t) const override { return static_cast<std::uint64_t>(height_) * width_; }
  std::uint64_t record_bytes(std::int64_t index, const RecordOptions&) const override { return size_bytes(index); }
  // Always pixels, whatever the options.
  MadeRecord read(std::int64_t index, const RecordOptions& options) const override;
  std::string name(std::int64_t) const override { return ""; }
  std::string describe(std::int64_t index) const override;

 private:
  std::filesystem::path path_;
  std::vector<std::string> class_names_;
  std::vector<std::uint8_t> pixels_;  // [n, height, width]
  std::vector<std::uint8_t> labels_;  // [n]
  std::int32_t height_ = 0;
  std::int32_t width_ = 0;
};

}  // namespace maskedkd
