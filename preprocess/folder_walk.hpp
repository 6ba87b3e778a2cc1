// Walks through folders of images: which files are images by their names, which entries are left out and why. Called
// by every rank for its share of the class folders; what they left out is added up afterwards and said once.
#pragma once

#include "preprocess/file_list.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>
#include <vector>

namespace maskedkd {

// What a walk passed over.
struct LeftOut {
  std::map<std::string, std::uint64_t> not_data;  // folders and files that are not data (not_data.hpp): kind -> count
  std::uint64_t num_outside = 0;                  // files beside the class folders
  std::string outside;                            // the first of them
  std::uint64_t num_others = 0;                   // files in class folders that are no images by their names
  std::string other;                              // the first of them
  std::map<std::string, std::uint64_t> pictures_to_convert;  // ending -> how many of those are pictures of other kinds
  std::uint64_t num_unreadable = 0;                          // with skip_unreadable
  std::vector<std::string> unreadable;                       // "PATH: reason" of the first of them

  void add(const LeftOut& more);
  std::string serialise() const;
  static LeftOut parse(const std::string& text);
  // In the log: one line for each kind that there is.
  void say() const;
};

bool is_image_name(const std::string& name);
// A path as it may stand in a message: names of files may hold anything.
std::string shown(const std::filesystem::path& path);

class FolderWalk {
 public:
  // skip_unreadable: an entry that can't be read (no permission, a link to nothing, neither a file nor a folder) is
  // left out; else it is an Error. An error of the disk or the file server is an Error always.
  FolderWalk(std::filesystem::path root, bool skip_unreadable)
      : root_(std::move(root)), skip_unreadable_(skip_unreadable) {}

  // The names of the folders in the root that hold data, unsorted; named_folders hold data whatever they are called.
  std::vector<std::string> class_folders(const std::map<std::string, std::int32_t>& named_folders);
  // The image files of the class folder `name` with all below it: folders in the order of their paths, in each the
  // files by name. Throws Error (usage) where a link leads back to a folder that it lies in.
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
