#include "preprocess/folder_walk.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "preprocess/not_data.hpp"

#include <sys/stat.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <set>
#include <utility>

namespace maskedkd {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostUnreadableNamed = 20;  // the others are only counted

// Identifies a folder, whatever links lead to it.
using FolderId = std::pair<dev_t, ino_t>;

FolderId id_of(const fs::path& folder) {
  struct stat facts {};
  if (::stat(folder.c_str(), &facts) != 0) {
    throw fs::filesystem_error("stat", folder, std::error_code(errno, std::generic_category()));
  }
  return {facts.st_dev, facts.st_ino};
}

// The folder and all folders that contain it.
std::vector<FolderId> ids_up_from(const fs::path& folder) {
  const fs::path place = fs::canonical(folder);
  std::vector<FolderId> ids = {id_of(place)};
  for (fs::path up = place; up != up.parent_path();) {
    up = up.parent_path();
    ids.push_back(id_of(up));
  }
  return ids;
}

// Throws where a link leads back to a folder that contains it: the walk would never end.
void refuse_link_cycle(const fs::path& path, const FolderId& id, const std::vector<FolderId>& above) {
  if (std::find(above.begin(), above.end(), id) != above.end()) {
    throw usage_error(fmt::format("{} leads back to a folder that contains it", printable_path(path)),
                      "remove that link");
  }
}

// Whether the reason concerns only this entry, and not the disk or the file server. A file that disappeared during the
// walk is not such a reason: somebody is changing the folder.
bool is_reason_to_leave_out(const fs::path& path, const std::error_code& reason) {
  std::error_code unreachable;
  return reason == std::errc::permission_denied || reason == std::errc::operation_not_permitted ||
         reason == std::errc::too_many_symbolic_link_levels || reason == std::errc::not_supported ||
         (reason == std::errc::no_such_file_or_directory && fs::is_symlink(fs::symlink_status(path, unreachable)));
}

std::string reason_text(const std::error_code& reason) {
  if (reason == std::errc::no_such_file_or_directory) {
    return "it is a dangling link";
  }
  if (reason == std::errc::not_supported) {
    return "it is neither a file nor a folder";
  }
  return reason.message();
}

std::string in_lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return text;
}

// The extension, as ".webp", of an image of a format that is not read; "" for all other files.
std::string ending_to_convert(const std::string& name) {
  static const std::set<std::string> kEndings = {".apng", ".avif", ".bmp", ".gif", ".heic", ".heif", ".ico", ".j2k",
                                                 ".jfif", ".jp2",  ".jpe", ".jxl", ".pbm",  ".pgm",  ".pnm", ".ppm",
                                                 ".psd",  ".svg",  ".tga", ".tif", ".tiff", ".webp"};
  const std::string ending = in_lower_case(fs::path(name).extension().string());
  return kEndings.count(ending) != 0 ? ending : "";
}

void note_other_file(const fs::path& path, LeftOut& left_out) {
  if (left_out.num_others++ == 0) {
    left_out.other = printable_path(path);
  }
  if (const std::string ending = ending_to_convert(path.filename().string()); !ending.empty()) {
    ++left_out.pictures_to_convert[ending];
  }
}

}  // namespace

bool is_image_name(const std::string& given) {
  const std::string name = in_lower_case(given);
  return name.ends_with(".jpg") || name.ends_with(".jpeg") || name.ends_with(".png");
}

std::string printable_path(const fs::path& path) {
  fs::path clean;
  for (const fs::path& part : path) {
    clean /= printable_name(part.string());
  }
  return clean.string();
}

void LeftOut::add(const LeftOut& more) {
  for (const auto& [kind, count] : more.not_data) {
    not_data[kind] += count;
  }
  outside = num_outside == 0 ? more.outside : outside;
  num_outside += more.num_outside;
  other = num_others == 0 ? more.other : other;
  num_others += more.num_others;
  for (const auto& [ending, count] : more.pictures_to_convert) {
    pictures_to_convert[ending] += count;
  }
  num_unreadable += more.num_unreadable;
  for (const std::string& entry : more.unreadable) {
    if (unreadable.size() < kMostUnreadableNamed) {
      unreadable.push_back(entry);
    }
  }
}

std::string LeftOut::serialise() const {
  const nlohmann::json json = {
      {"not_data", not_data}, {"num_outside", num_outside},       {"outside", outside},      {"num_others", num_others},
      {"other", other},       {"num_unreadable", num_unreadable}, {"unreadable", unreadable}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

LeftOut LeftOut::parse(const std::string& text) {
  const auto json = nlohmann::json::parse(text);
  LeftOut left_out;
  json.at("not_data").get_to(left_out.not_data);
  json.at("num_outside").get_to(left_out.num_outside);
  json.at("outside").get_to(left_out.outside);
  json.at("num_others").get_to(left_out.num_others);
  json.at("other").get_to(left_out.other);
  json.at("num_unreadable").get_to(left_out.num_unreadable);
  json.at("unreadable").get_to(left_out.unreadable);
  return left_out;
}

void LeftOut::report() const {
  if (!not_data.empty()) {
    std::string kinds;
    for (const auto& [kind, count] : not_data) {
      kinds += fmt::format("{}{} {}", kinds.empty() ? "" : ", ", count, kind);
    }
    spdlog::warn(
        "left out folders and files whose names show that they are not data (torchvision's ImageFolder keeps the "
        "images in them): {}",
        kinds);
  }
  if (num_outside > 0) {
    spdlog::warn("left out {} files outside of class folders, the first of them {}", num_outside, outside);
  }
  if (num_others > 0) {
    spdlog::warn("left out {} files that do not end in .jpg, .jpeg or .png, the first of them {}", num_others, other);
  }
  for (const std::string& entry : unreadable) {
    spdlog::warn("left out {}", entry);
  }
  if (num_unreadable > 0) {
    spdlog::warn("left out {} files and folders that can't be read, because of --on-broken skip", num_unreadable);
  }
}

void FolderWalk::leave_out(const fs::path& path, const std::error_code& reason) {
  if (!is_reason_to_leave_out(path, reason)) {
    throw fs::filesystem_error("read", path, reason);
  }
  if (!skip_unreadable_) {
    throw Error(fmt::format("{} can't be read: {}", printable_path(path), reason_text(reason)),
                "make it readable, or pack with --on-broken skip, which leaves it out");
  }
  ++left_out_.num_unreadable;
  if (left_out_.unreadable.size() < kMostUnreadableNamed) {
    left_out_.unreadable.push_back(fmt::format("{}: {}", printable_path(path), reason_text(reason)));
  }
}

// Calls visit(entry, name, whether it is a folder) for each entry of the folder.
template <typename Visit>
void FolderWalk::for_each_entry(const fs::path& folder, const Visit& visit) {
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  if (error) {
    leave_out(folder, error);
    return;
  }
  for (const fs::directory_iterator end; entry != end; entry.increment(error)) {
    std::error_code unreachable;
    visit(*entry, entry->path().filename().string(), entry->is_directory(unreachable));
  }
  if (error) {
    throw fs::filesystem_error("list", folder, error);
  }
}

std::vector<std::string> FolderWalk::class_folders(const std::map<std::string, std::int32_t>& named_folders) {
  std::vector<std::string> names;
  for_each_entry(root_, [&](const fs::directory_entry& entry, const std::string& name, bool is_folder) {
    const bool is_named = is_folder && named_folders.count(name) != 0;
    const std::string kind = is_named    ? ""
                             : is_folder ? kind_of_folder_without_data(name)
                                         : kind_of_file_without_data(entry.path());
    if (!kind.empty()) {
      ++left_out_.not_data[kind];
    } else if (is_folder) {
      names.push_back(name);
    } else if (left_out_.num_outside++ == 0) {
      left_out_.outside = printable_path(entry.path());
    }
  });
  if (names.empty()) {
    left_out_.num_outside = 0;  // the caller refuses a folder without class folders
  }
  return names;
}

FileList FolderWalk::images_of_class(const std::string& class_folder, std::int32_t label) {
  struct Folder {
    std::string path;                 // relative to the root
    std::vector<std::string> images;  // names
    std::vector<FolderId> above;      // the folders that contain it, and itself
  };
  std::vector<Folder> folders;
  // above: the folders that contain it.
  const auto enter = [&](const std::string& path, std::vector<FolderId> above) {
    try {
      const FolderId id = id_of(root_ / path);
      refuse_link_cycle(root_ / path, id, above);
      above.push_back(id);
      folders.push_back({path, {}, std::move(above)});
    } catch (const fs::filesystem_error& error) {
      leave_out(root_ / path, error.code());
    }
  };
  enter(class_folder, ids_up_from(root_));
  for (std::size_t i = 0; i < folders.size(); ++i) {
    for_each_entry(root_ / folders[i].path, [&](const fs::directory_entry& entry, const std::string& name,
                                                bool is_folder) {
      const std::string kind = is_folder ? kind_of_folder_without_data(name) : kind_of_file_without_data(entry.path());
      if (!kind.empty()) {
        ++left_out_.not_data[kind];
      } else if (is_folder) {
        enter(folders[i].path + "/" + name, folders[i].above);
      } else if (is_image_name(name)) {
        folders[i].images.push_back(name);
      } else {
        note_other_file(entry.path(), left_out_);
      }
    });
  }
  std::sort(folders.begin(), folders.end(), [](const Folder& a, const Folder& b) { return a.path < b.path; });
  FileList images;
  for (Folder& folder : folders) {
    std::sort(folder.images.begin(), folder.images.end());
    for (const std::string& image : folder.images) {
      const std::string path = folder.path + "/" + image;
      std::error_code error;
      if (const std::uint64_t size_bytes = fs::file_size(root_ / path, error); !error) {
        images.append(path, label, size_bytes);
      } else {
        leave_out(root_ / path, error);
      }
    }
  }
  return images;
}

std::vector<std::string> FolderWalk::images_in(const fs::path& folder) {
  std::vector<std::string> names;
  for_each_entry(root_ / folder, [&](const fs::directory_entry& entry, const std::string& name, bool is_folder) {
    if (!is_folder && is_image_name(name) && kind_of_file_without_data(entry.path()).empty()) {
      names.push_back(name);
    }
  });
  return names;
}

}  // namespace maskedkd
