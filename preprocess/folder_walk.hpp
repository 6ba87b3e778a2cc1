// Walks through folders of images: which files are images by their names, which entries are left out and why. Every
// rank walks its share of the class folders; what they left out is merged afterwards and reported once.
#pragma once

#include "preprocess/file_list.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>
#include <vector>

namespace maskedkd {

// What a walk left out.
struct LeftOut {
  std::map<std::string, std::uint64_t> not_data;  // kind of folder or file (not_data.hpp) -> count
  std::uint64_t num_outside = 0;                  // files beside the class folders
  std::string outside;                            // the first of them
  std::uint64_t num_others = 0;                   // files in class folders without the extension of an image
  std::string other;                              // the first of them
  std::map<std::string, std::uint64_t>
      pictures_to_convert;              // extension -> count: those that are images of other formats
  std::uint64_t num_unreadable = 0;     // with skip_unreadable
  std::vector<std::string> unreadable;  // "PATH: reason" of the first of them

  void add(const LeftOut& more);
  std::string serialise() const;
  static LeftOut parse(const std::string& text);
  // Logs one warning for each kind.
  void report() const;
};

bool is_image_name(const std::string& name);
// The path for a message: names of files may contain control characters.
std::string printable_path(const std::filesystem::path& path);

class FolderWalk {
 public:
  // skip_unreadable: an entry that can't be read (no permission, a dangling link, neither a file nor a folder) is left
  // out; without it, it is an Error. A failure of the disk or the file server is always an Error.
  FolderWalk(std::filesystem::path root, bool skip_unreadable)
      : root_(std::move(root)), skip_unreadable_(skip_unreadable) {}

  // The names of the folders in the root, unsorted, without those that are not data; named_folders are always data.
  std::vector<std::string> class_folders(const std::map<std::string, std::int32_t>& named_folders);
  // The image files of the class folder `name` and all folders in it: folders in the order of their paths, the files of
  // each by name. Throws Error (usage) where a link leads back to a folder that contains it.
  FileList images_of_class(const std::string& name, std::int32_t label);
  // The names of the image files in one folder below the root, unsorted; "": the root.
  std::vector<std::string> images_in(const std::filesystem::path& folder);
  // Leaves `path` out for this reason, or throws.
  void leave_out(const std::filesystem::path& path, const std::error_code& reason);

  const LeftOut& left_out() const { return left_out_; }

 private:
  template <typename Visit>
  void for_each_entry(const std::filesystem::path& folder, const Visit& visit);

  std::filesystem::path root_;
  bool skip_unreadable_;
  LeftOut left_out_;
};

}  // namespace maskedkd
