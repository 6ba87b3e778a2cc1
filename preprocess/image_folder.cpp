#include "preprocess/image_folder.hpp"

#include "maskedkd/base/log.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"
#include "preprocess/class_files.hpp"

#include <sys/stat.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace maskedkd {
namespace {

namespace fs = std::filesystem;

std::string in_lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return text;
}

bool is_image_name(const std::string& given) {
  const std::string name = in_lower_case(given);
  return name.ends_with(".jpg") || name.ends_with(".jpeg") || name.ends_with(".png");
}

// The ending of a picture of another kind, as ".webp"; "" of any other file.
std::string ending_to_convert(const std::string& name) {
  static const std::set<std::string> kEndings = {".apng", ".avif", ".bmp", ".gif", ".heic", ".heif", ".ico", ".j2k",
                                                 ".jfif", ".jp2",  ".jpe", ".jxl", ".pbm",  ".pgm",  ".pnm", ".ppm",
                                                 ".psd",  ".svg",  ".tga", ".tif", ".tiff", ".webp"};
  const std::string ending = in_lower_case(fs::path(name).extension().string());
  return kEndings.count(ending) != 0 ? ending : "";
}

// Class names go into index.json.
bool is_utf8(const std::string& text) {
  try {
    return !nlohmann::json(text).dump().empty();
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

// A path as it may stand in a message: names of files may hold anything.
std::string shown(const fs::path& path) {
  fs::path clean;
  for (const fs::path& part : path) {
    clean /= printable_name(part.string());
  }
  return clean.string();
}

// A folder as the system knows it, whatever links lead to it.
using FolderId = std::pair<dev_t, ino_t>;

FolderId id_of(const fs::path& folder) {
  struct stat facts {};
  if (::stat(folder.c_str(), &facts) != 0) {
    throw fs::filesystem_error("stat", folder, std::error_code(errno, std::generic_category()));
  }
  return {facts.st_dev, facts.st_ino};
}

// The folder with all that it lies in.
std::vector<FolderId> ids_up_from(const fs::path& folder) {
  const fs::path place = fs::canonical(folder);
  std::vector<FolderId> ids = {id_of(place)};
  for (fs::path up = place; up != up.parent_path();) {
    up = up.parent_path();
    ids.push_back(id_of(up));
  }
  return ids;
}

struct Section {
  FileList images;
  std::uint64_t num_others = 0;                              // files that are no images by their names
  std::string other;                                         // the first of them
  std::map<std::string, std::uint64_t> pictures_to_convert;  // ending -> how many of those end in it
};

// Throws where a link leads back up to a folder that this one lies in: its files would come again and again.
void refuse_circle(const fs::path& path, const FolderId& id, const std::vector<FolderId>& above) {
  if (std::find(above.begin(), above.end(), id) != above.end()) {
    throw usage_error(fmt::format("{} leads back to a folder that it lies in", shown(path)), "remove that link");
  }
}

// The image files of the class folder `name` with all below it: folders in the order of their paths, in each the files
// by name. Looked at once: a folder may hold a million.
Section list_class(const fs::path& root, const std::string& name, std::int32_t label) {
  struct Folder {
    std::string path;                 // below the root
    std::vector<std::string> images;  // names
    std::vector<FolderId> above;      // what it lies in, and itself
  };
  Section section;
  std::vector<Folder> folders = {{name, {}, ids_up_from(root)}};
  const FolderId id = id_of(root / name);
  refuse_circle(root / name, id, folders[0].above);
  folders[0].above.push_back(id);
  for (std::size_t i = 0; i < folders.size(); ++i) {
    for (const auto& entry : fs::directory_iterator(root / folders[i].path)) {
      std::string file = entry.path().filename().string();
      if (entry.is_directory()) {
        const FolderId below = id_of(entry.path());
        refuse_circle(entry.path(), below, folders[i].above);
        folders.push_back({folders[i].path + "/" + file, {}, folders[i].above});
        folders.back().above.push_back(below);
      } else if (is_image_name(file)) {
        folders[i].images.push_back(std::move(file));
      } else {
        if (section.num_others++ == 0) {
          section.other = shown(entry.path());
        }
        if (const std::string ending = ending_to_convert(file); !ending.empty()) {
          ++section.pictures_to_convert[ending];
        }
      }
    }
  }
  std::sort(folders.begin(), folders.end(), [](const Folder& a, const Folder& b) { return a.path < b.path; });
  for (Folder& folder : folders) {
    std::sort(folder.images.begin(), folder.images.end());
    for (const std::string& image : folder.images) {
      const std::string path = folder.path + "/" + image;
      section.images.append(path, label, fs::file_size(root / path));
    }
  }
  return section;
}

[[noreturn]] void refuse_class_without_images(const fs::path& folder, const Section& section) {
  std::string found;
  for (const auto& [ending, count] : section.pictures_to_convert) {
    found += fmt::format("{}{} {} {}", found.empty() ? "" : ", ", count, ending, count == 1 ? "file" : "files");
  }
  if (!found.empty()) {
    throw usage_error(
        fmt::format("the class folder {} holds {}, but no JPEG or PNG files", shown(folder), found),
        "only .jpg, .jpeg and .png are read: convert the others to JPEG or PNG, or rename JPEG files that "
        "have another ending");
  }
  throw usage_error(fmt::format("the class folder {} holds no images", shown(folder)),
                    "images end in .jpg, .jpeg or .png; remove the folder if it is no class");
}

// DIR for DIR/train: its "classes" are sets that hold folders only.
void refuse_folder_of_sets(const fs::path& root, const std::vector<std::string>& folders) {
  static const std::set<std::string> kSets = {"train", "training", "val", "valid", "validation", "test", "testing"};
  for (const std::string& name : folders) {
    if (kSets.count(in_lower_case(name)) == 0) {
      return;
    }
    for (const auto& entry : fs::directory_iterator(root / name)) {
      if (!entry.is_directory() && is_image_name(entry.path().filename().string())) {
        return;
      }
    }
  }
  throw usage_error(fmt::format("{} holds sets ({}), not classes", root.string(), fmt::join(folders, ", ")),
                    fmt::format("pack each alone: --data-path {}", (root / folders.front()).string()));
}

std::vector<std::string> folders_in(const fs::path& root) {
  std::vector<std::string> names;
  std::uint64_t num_files = 0;
  std::string file;
  for (const auto& entry : fs::directory_iterator(root)) {
    if (entry.is_directory()) {
      names.push_back(entry.path().filename().string());
    } else if (++num_files == 1) {
      file = shown(entry.path());
    }
  }
  if (num_files > 0 && !names.empty()) {
    spdlog::warn("left out {} files that lie in no class folder, the first of them {}", num_files, file);
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    if (!is_utf8(name)) {
      throw usage_error(fmt::format("the class folder {} has a name that is not UTF-8", shown(root / name)),
                        "rename it");
    }
  }
  return names;
}

std::string text_of(const fs::path& file, const char* flag) {
  std::error_code unreachable;
  if (!fs::is_regular_file(file, unreachable)) {
    throw usage_error(fmt::format("--{}: {} is not a file", flag, shown(file)), "name an existing one");
  }
  return read_text_file(file);
}

// What rank 0 says, on every rank.
std::string from_rank_zero(const Peers& peers, const std::function<std::string()>& say) {
  return peers.all_gather(peers.rank == 0 ? say() : "").front();
}

std::optional<ClassMap> read_class_map(const ClassOptions& classes) {
  if (classes.class_map.empty()) {
    return std::nullopt;
  }
  ClassMap map = parse_class_map(text_of(classes.class_map, "class-map"), classes.class_map, classes.merge);
  for (const std::string& name : map.class_names) {
    if (!is_utf8(name)) {
      throw usage_error(fmt::format("{}: a class has a name that is not UTF-8", classes.class_map.string()));
    }
  }
  return map;
}

}  // namespace

ImageFolder ImageFolder::scan(const fs::path& root, const ClassOptions& classes, const Peers& peers) {
  std::error_code unreachable;
  if (!fs::is_directory(root, unreachable)) {
    throw usage_error(fmt::format("{} is not a folder", root.string()),
                      "--data-path names the folder of class folders");
  }
  ImageFolder source(root);
  try {
    if (classes.labels_file.empty()) {
      source.list_class_folders(classes, peers);
    } else {
      source.list_labelled_files(classes, peers);
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(fmt::format("can't list {}: {}", shown(error.path1()), error.code().message()));
  }
  return source;
}

void ImageFolder::list_class_folders(const ClassOptions& classes, const Peers& peers) {
  const std::optional<ClassMap> map = read_class_map(classes);
  const std::string told = from_rank_zero(peers, [&] {
    const std::vector<std::string> names = folders_in(root_);
    if (names.empty()) {
      throw usage_error(fmt::format("{} holds no class folders", root_.string()),
                        "it must look like DIR/class/image.jpg; a folder without classes takes --labels-file");
    }
    refuse_folder_of_sets(root_, names);
    return nlohmann::json(names).dump();
  });
  const auto folders = nlohmann::json::parse(told).get<std::vector<std::string>>();
  class_names_ = map ? map->class_names : folders;
  const auto label_of = [&](std::size_t folder) {
    if (!map) {
      return static_cast<std::int32_t>(folder);
    }
    const auto label = map->label_of.find(folders[folder]);
    if (label == map->label_of.end()) {
      throw usage_error(fmt::format("{} does not name the class folder {}", classes.class_map.string(),
                                    shown(root_ / folders[folder])),
                        "give it a line, or move the folder elsewhere");
    }
    return label->second;
  };
  std::string own;
  std::uint64_t num_others = 0;
  std::string other;
  for (std::size_t i = static_cast<std::size_t>(peers.rank); i < folders.size(); i += peers.size) {
    const Section section = list_class(root_, folders[i], label_of(i));
    if (section.images.size() == 0) {
      refuse_class_without_images(root_ / folders[i], section);
    }
    section.images.serialise_to(own);
    other = num_others == 0 ? section.other : other;
    num_others += section.num_others;
  }
  const std::vector<std::string> lists = peers.all_gather(own);
  std::vector<std::string_view> rest(lists.begin(), lists.end());
  for (std::size_t i = 0; i < folders.size(); ++i) {
    files_.append(FileList::parse(rest[i % rest.size()]));
  }
  const std::vector<std::string> others = peers.all_gather(fmt::format("{} {}", num_others, other));
  std::uint64_t total = 0;
  std::string first;
  for (const std::string& text : others) {
    const std::uint64_t count = std::stoull(text);
    first = total == 0 && count > 0 ? text.substr(text.find(' ') + 1) : first;
    total += count;
  }
  if (total > 0 && peers.rank == 0) {
    spdlog::warn("left out {} files that end neither in .jpg, .jpeg nor .png, the first of them {}", total, first);
  }
}

void ImageFolder::list_labelled_files(const ClassOptions& classes, const Peers& peers) {
  const std::optional<ClassMap> map = read_class_map(classes);
  const std::string text = from_rank_zero(peers, [&] { return text_of(classes.labels_file, "labels-file"); });
  LabelledFiles labelled = parse_labels(text, classes.labels_file, map ? &*map : nullptr);
  class_names_ = std::move(labelled.class_names);
  for (const std::string& name : class_names_) {
    if (!is_utf8(name)) {
      throw usage_error(fmt::format("{}: a class has a name that is not UTF-8", classes.labels_file.string()));
    }
  }
  const std::size_t n = labelled.paths.size(), ranks = static_cast<std::size_t>(peers.size),
                    rank = static_cast<std::size_t>(peers.rank);
  FileList own;
  for (std::size_t i = n * rank / ranks; i < n * (rank + 1) / ranks; ++i) {
    std::error_code error;
    const std::uint64_t size = fs::file_size(root_ / labelled.paths[i], error);
    if (error) {
      throw usage_error(fmt::format("{} lists {}: {}", classes.labels_file.string(), shown(root_ / labelled.paths[i]),
                                    error.message()),
                        "its paths are below --data-path");
    }
    own.append(labelled.paths[i], labelled.labels[i], size);
  }
  std::string told;
  own.serialise_to(told);
  for (const std::string& list : peers.all_gather(told)) {
    std::string_view rest = list;
    files_.append(FileList::parse(rest));
  }
}

// Names and sizes, not contents: reading 140 GB to learn that they were packed already would take as long as packing
// them.
std::string ImageFolder::identity() const {
  Sha256 digest;
  const auto add = [&](std::string_view field) {
    constexpr std::array<std::uint8_t, 1> kEnd = {0};
    digest.update({reinterpret_cast<const std::uint8_t*>(field.data()), field.size()});
    digest.update(kEnd);
  };
  add(std::to_string(class_names_.size()));
  for (const std::string& name : class_names_) {
    add(name);
  }
  for (std::int64_t i = 0; i < files_.size(); ++i) {
    add(files_.path(i));
    add(fmt::format("{} {}", files_.label(i), files_.size_bytes(i)));
  }
  return "images " + digest.hex_digest();
}

MadeRecord ImageFolder::read(std::int64_t index, const RecordOptions& options) const {
  const fs::path path = root_ / files_.path(index);
  const FileDescriptor opened = open_for_reading(path);
  const std::uint64_t size = file_size_bytes(opened, path);
  if (size != files_.size_bytes(index)) {
    throw Error(fmt::format("{} was changed while it was packed: it had {} bytes and has {} now", shown(path),
                            files_.size_bytes(index), size),
                "let nobody write into the folder, and start again");
  }
  std::vector<std::uint8_t> bytes(size);
  read_exactly(opened, 0, bytes, path);
  MadeRecord made = make_record(std::move(bytes), files_.path(index), options);
  made.record.label = files_.label(index);
  return made;
}

std::string ImageFolder::describe(std::int64_t index) const { return shown(root_ / files_.path(index)); }

}  // namespace maskedkd
