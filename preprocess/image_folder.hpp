// A folder of JPEG and PNG files: either of class folders, listed as torchvision's ImageFolder lists them (classes by
// name, the files of each by path) except for what is not data (not_data.hpp), or flat with a file of labels. Each
// class folder is listed by one rank, all ranks at the same time, as a parallel file system serves them concurrently;
// then they exchange their lists.
#pragma once

#include "preprocess/class_order.hpp"
#include "preprocess/file_list.hpp"
#include "preprocess/image_source.hpp"
#include "preprocess/peers.hpp"

#include <filesystem>

namespace maskedkd {

struct ClassOptions {
  std::filesystem::path class_map;      // folder -> class; empty: each folder is the class of its name
  std::filesystem::path labels_file;    // path -> label, for a folder without class folders
  bool merge = false;                   // folders with the same class name in class_map are one class
  ClassOrder order = ClassOrder::text;  // of classes where there is no class_map
  bool skip_unreadable = false;         // entries that can't be read are left out (folder_walk.hpp), not an Error
};

class ImageFolder final : public ImageSource {
 public:
  // Collective. Throws Error (usage): no such folder, no class folders, a class without images that no class map names,
  // a folder of whole sets, an error in a file of classes (with its line). Rank 0 logs what was left out, which classes
  // are empty, and whether the classes are not in the order of the numbers in their names.
  static ImageFolder scan(const std::filesystem::path& root, const ClassOptions& classes = {}, const Peers& peers = {});

  std::int64_t size() const override { return files_.size(); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  std::string identity() const override;
  std::uint64_t size_bytes(std::int64_t index) const override { return files_.size_bytes(index); }
  std::uint64_t record_bytes(std::int64_t index, const RecordOptions& options) const override;
  MadeRecord read(std::int64_t index, const RecordOptions& options) const override;
  std::string name(std::int64_t index) const override { return std::string(files_.path(index)); }
  std::string describe(std::int64_t index) const override;

 private:
  explicit ImageFolder(std::filesystem::path root) : root_(std::move(root)) {}
  void list_class_folders(const ClassOptions& classes, const Peers& peers);
  void list_labelled_files(const ClassOptions& classes, const Peers& peers);

  std::filesystem::path root_;
  std::vector<std::string> class_names_;
  FileList files_;
};

}  // namespace maskedkd
