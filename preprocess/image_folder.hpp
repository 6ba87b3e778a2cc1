// A folder of class folders of JPEG and PNG files, listed as torchvision's ImageFolder lists it: classes by name, in
// each the subfolders' files by path. Scanned once, by one rank; the others get the list as text.
#pragma once

#include "preprocess/image_source.hpp"

#include <filesystem>

namespace maskedkd {

class ImageFolder final : public ImageSource {
 public:
  // Throws Error (usage): no such folder, no class folders, a class without images.
  static ImageFolder scan(const std::filesystem::path& root);
  // The inverse of serialise(). Names hold any bytes but NUL.
  ImageFolder(std::filesystem::path root, const std::string& serialised);
  std::string serialise() const;

  std::int64_t size() const override { return static_cast<std::int64_t>(files_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  std::string identity() const override;
  Record read(std::int64_t index, RecordEncoding encoding) const override;
  std::string describe(std::int64_t index) const override;

 private:
  struct File {
    std::string path;  // below the root
    std::int64_t label;
    std::uint64_t size_bytes;
  };
  explicit ImageFolder(std::filesystem::path root) : root_(std::move(root)) {}

  std::filesystem::path root_;
  std::vector<std::string> class_names_;
  std::vector<File> files_;
};

}  // namespace maskedkd
