#include "preprocess/image_folder.hpp"

#include "maskedkd/base/log.hpp"
#include "maskedkd/base/look_alike.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"
#include "preprocess/class_files.hpp"
#include "preprocess/folder_walk.hpp"
#include "preprocess/image_file.hpp"
#include "preprocess/kaggle_solution.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace maskedkd {
namespace {

namespace fs = std::filesystem;

// Class names must be UTF-8, because they are stored in index.json.
bool is_utf8(const std::string& text) {
  try {
    return !nlohmann::json(text).dump().empty();
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

[[noreturn]] void refuse_class_without_images(const fs::path& folder, const LeftOut& left_out) {
  std::string found;
  for (const auto& [ending, count] : left_out.pictures_to_convert) {
    found += fmt::format("{}{} {} {}", found.empty() ? "" : ", ", count, ending, count == 1 ? "file" : "files");
  }
  if (!found.empty()) {
    throw usage_error(
        fmt::format("the class folder {} contains {}, but no JPEG or PNG files", printable_path(folder), found),
        "only .jpg, .jpeg and .png are read: convert the others to JPEG or PNG, or rename JPEG files that "
        "have another extension");
  }
  throw usage_error(fmt::format("the class folder {} contains no images", printable_path(folder)),
                    "images end in .jpg, .jpeg or .png; move the folder elsewhere if it is not a class");
}

// The user gave DIR instead of DIR/train: the "classes" are sets, which contain only folders.
void refuse_folder_of_sets(const fs::path& root, const std::vector<std::string>& folders) {
  static const std::set<std::string> kSets = {"train", "training", "val", "valid", "validation", "test", "testing"};
  for (const std::string& name : folders) {
    if (kSets.count(name) == 0) {
      return;
    }
    for (const auto& entry : fs::directory_iterator(root / name)) {
      if (!entry.is_directory() && is_image_name(entry.path().filename().string())) {
        return;
      }
    }
  }
  throw usage_error(fmt::format("{} contains sets ({}), not classes", root.string(), fmt::join(folders, ", ")),
                    fmt::format("pack each of them separately: --data-path {}", (root / folders.front()).string()));
}

void refuse_names_that_are_not_utf8(const fs::path& root, const std::vector<std::string>& folders) {
  for (const std::string& name : folders) {
    if (!is_utf8(name)) {
      throw usage_error(fmt::format("the class folder {} has a name that is not UTF-8", printable_path(root / name)),
                        "rename it");
    }
  }
}

std::string text_of(const fs::path& file, const char* flag) {
  std::error_code unreachable;
  if (!fs::is_regular_file(file, unreachable)) {
    throw usage_error(fmt::format("--{}: {} is not a file", flag, printable_path(file)), "name an existing one");
  }
  return read_text_file(file);
}

std::optional<ClassMap> read_class_map(const ClassOptions& classes, const Peers& peers) {
  if (classes.class_map.empty()) {
    return std::nullopt;
  }
  const std::string text = peers.from_rank_zero([&] { return text_of(classes.class_map, "class-map"); });
  ClassMap map = parse_class_map(text, classes.class_map, classes.merge);
  for (const std::string& name : map.class_names) {
    if (!is_utf8(name)) {
      throw usage_error(fmt::format("{}: a class has a name that is not UTF-8", classes.class_map.string()));
    }
  }
  return map;
}

[[noreturn]] void refuse_folder_without_line(const fs::path& file, const ClassMap& map, const fs::path& root,
                                             const std::string& folder) {
  std::string hint = "add a line for it, or move the folder elsewhere";
  for (const auto& [name, label] : map.label_of) {
    if (look_key(name) == look_key(folder)) {
      hint = fmt::format("the folder's name is {}: rename the folder or correct the line", instead_of(folder, name));
    }
  }
  throw usage_error(fmt::format("{} does not name the class folder {}", file.string(), printable_path(root / folder)),
                    hint);
}

// Collective: rank 0 reports what all ranks left out.
void report_left_out(const Peers& peers, const LeftOut& own) {
  LeftOut all;
  for (const std::string& text : peers.all_gather(own.serialise())) {
    all.add(LeftOut::parse(text));
  }
  if (peers.rank == 0) {
    all.report();
  }
}

// Warns of classes without images, in one line.
void report_classes_without_images(const std::vector<std::string>& class_names, const FileList& files) {
  constexpr std::size_t kMostNamed = 5;
  std::vector<bool> has_images(class_names.size());
  for (std::int64_t i = 0; i < files.size(); ++i) {
    has_images[static_cast<std::size_t>(files.label(i))] = true;
  }
  std::vector<std::string> names;
  std::size_t count = 0;
  for (std::size_t label = 0; label < class_names.size(); ++label) {
    if (!has_images[label] && ++count <= kMostNamed) {
      names.push_back(quoted_name(class_names[label]));
    }
  }
  if (count > 0) {
    spdlog::warn("{} of {} classes have no images here: {}{}", count, class_names.size(), fmt::join(names, ", "),
                 count > kMostNamed ? ", ..." : "");
  }
}

// The list of labels as lines PATH LABEL, whichever of the two formats the file has.
std::string read_labels(const fs::path& file, const fs::path& root) {
  std::string text = text_of(file, "labels-file");
  return is_kaggle_solution(text) ? labels_of_kaggle_solution(text, file, root) : text;
}

// Warns of images that are not listed, in folders with images that are.
void report_unlisted_images(const fs::path& root, const fs::path& list, const std::vector<std::string>& paths) {
  std::set<fs::path> listed, folders;
  for (const std::string& path : paths) {
    const fs::path clean = fs::path(path).lexically_normal();
    listed.insert(clean);
    folders.insert(clean.parent_path());
  }
  std::uint64_t count = 0;
  fs::path first;
  FolderWalk walk(root, /*skip_unreadable=*/true);
  for (const fs::path& folder : folders) {
    std::error_code unreachable;
    if (!fs::is_directory(root / folder, unreachable)) {
      continue;  // it contains no images, and that the listed ones are missing is reported elsewhere
    }
    for (const std::string& name : walk.images_in(folder)) {
      if (const fs::path path = folder / name; listed.count(path) == 0) {
        first = count == 0 ? path : std::min(first, path);
        ++count;
      }
    }
  }
  if (count > 0) {
    spdlog::warn("left out {} images that {} does not list, the first of them {}", count, list.string(),
                 printable_path(root / first));
  }
}

// Collective: rank 0 throws where any rank found that listed files are missing.
void refuse_missing_files(const Peers& peers, const fs::path& list, std::uint64_t num_own, const std::string& own) {
  const std::vector<std::string> all = peers.all_gather(fmt::format("{} {}", num_own, own));
  peers.from_rank_zero([&] {
    std::uint64_t total = 0;
    std::string first;
    for (const std::string& text : all) {
      const std::uint64_t count = std::stoull(text);
      first = total == 0 && count > 0 ? text.substr(text.find(' ') + 1) : first;
      total += count;
    }
    if (total > 0) {
      throw usage_error(fmt::format("{} lists {} files that do not exist, the first of them {}: No such file",
                                    list.string(), total, first),
                        "its paths must be relative to --data-path");
    }
    return std::string();
  });
}

void warn_of_labels_from_one(const fs::path& list, const std::vector<std::int32_t>& labels) {
  const std::int32_t smallest = *std::min_element(labels.begin(), labels.end());
  if (smallest > 0) {
    spdlog::warn(
        "{}: no file has label 0, the smallest is {}, so class 0 is empty; labels are numbered from 0: if these are "
        "numbered from 1, correct them by perl -pe 's/(\\d+)(\\s*)$/($1-1).$2/e' '{}' > NEW_FILE",
        list.string(), smallest, list.string());
  }
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
    throw Error(fmt::format("can't list {}: {}", printable_path(error.path1()), error.code().message()));
  }
  if (source.size() == 0) {
    throw usage_error(fmt::format("{} contains no images that can be packed", root.string()),
                      "images end in .jpg, .jpeg or .png");
  }
  if (peers.rank == 0) {
    report_classes_without_images(source.class_names(), source.files_);
  }
  return source;
}

void ImageFolder::list_class_folders(const ClassOptions& classes, const Peers& peers) {
  const std::optional<ClassMap> map = read_class_map(classes, peers);
  LeftOut left_out;
  const std::string listed = peers.from_rank_zero([&] {
    FolderWalk walk(root_, classes.skip_unreadable);
    std::vector<std::string> names = walk.class_folders(map ? map->label_of : std::map<std::string, std::int32_t>());
    if (names.empty()) {
      throw usage_error(fmt::format("{} contains no class folders", root_.string()),
                        "the images must be in folders DIR/class/image.jpg; without class folders, give --labels-file");
    }
    refuse_names_that_are_not_utf8(root_, names);
    sort_class_names(names, classes.order);
    refuse_folder_of_sets(root_, names);
    if (const std::string warning = class_order_warning(names, classes.order); !map && !warning.empty()) {
      spdlog::warn("{}", warning);
    }
    left_out = walk.left_out();
    return nlohmann::json(names).dump();
  });
  const auto folders = nlohmann::json::parse(listed).get<std::vector<std::string>>();
  class_names_ = map ? map->class_names : folders;
  const auto label_of = [&](std::size_t folder) {
    if (!map) {
      return static_cast<std::int32_t>(folder);
    }
    const auto label = map->label_of.find(folders[folder]);
    if (label == map->label_of.end()) {
      refuse_folder_without_line(classes.class_map, *map, root_, folders[folder]);
    }
    return label->second;
  };
  std::string own;
  for (std::size_t i = static_cast<std::size_t>(peers.rank); i < folders.size(); i += peers.size) {
    FolderWalk walk(root_, classes.skip_unreadable);
    const FileList images = walk.images_of_class(folders[i], label_of(i));
    if (images.size() == 0 && !map && walk.left_out().num_unreadable == 0) {
      refuse_class_without_images(root_ / folders[i], walk.left_out());
    }
    images.serialise_to(own);
    left_out.add(walk.left_out());
  }
  const std::vector<std::string> lists = peers.all_gather(own);
  std::vector<std::string_view> rest(lists.begin(), lists.end());
  for (std::size_t i = 0; i < folders.size(); ++i) {
    files_.append(FileList::parse(rest[i % rest.size()]));
  }
  report_left_out(peers, left_out);
}

void ImageFolder::list_labelled_files(const ClassOptions& classes, const Peers& peers) {
  const std::optional<ClassMap> map = read_class_map(classes, peers);
  const std::string text = peers.from_rank_zero([&] { return read_labels(classes.labels_file, root_); });
  LabelledFiles labelled = parse_labels(text, classes.labels_file, map ? &*map : nullptr, classes.order);
  class_names_ = std::move(labelled.class_names);
  for (const std::string& name : class_names_) {
    if (!is_utf8(name)) {
      throw usage_error(fmt::format("{}: a class has a name that is not UTF-8", classes.labels_file.string()));
    }
  }
  const std::size_t n = labelled.paths.size(), ranks = static_cast<std::size_t>(peers.size),
                    rank = static_cast<std::size_t>(peers.rank);
  FileList own;
  FolderWalk walk(root_, classes.skip_unreadable);
  std::uint64_t num_missing = 0;
  std::string missing;
  for (std::size_t i = n * rank / ranks; i < n * (rank + 1) / ranks; ++i) {
    const fs::path path = root_ / labelled.paths[i];
    std::error_code error, unreachable;
    if (const std::uint64_t size = fs::file_size(path, error); !error) {
      own.append(labelled.paths[i], labelled.labels[i], size);
    } else if (error == std::errc::no_such_file_or_directory && !fs::is_symlink(path, unreachable)) {
      missing = num_missing++ == 0 ? printable_path(path) : missing;
    } else {
      walk.leave_out(path, error);
    }
  }
  refuse_missing_files(peers, classes.labels_file, num_missing, missing);
  std::string serialised;
  own.serialise_to(serialised);
  for (const std::string& list : peers.all_gather(serialised)) {
    std::string_view rest = list;
    files_.append(FileList::parse(rest));
  }
  report_left_out(peers, walk.left_out());
  if (peers.rank == 0) {
    report_unlisted_images(root_, classes.labels_file, labelled.paths);
    if (labelled.by_number) {
      warn_of_labels_from_one(classes.labels_file, labelled.labels);
    } else if (const std::string warning = class_order_warning(class_names_, classes.order); !map && !warning.empty()) {
      spdlog::warn("{}", warning);
    }
  }
}

// Of names and sizes, not of contents: to read 140 GB only to find that they are packed already would take as long as
// to pack them.
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

std::uint64_t ImageFolder::record_bytes(std::int64_t index, const RecordOptions& options) const {
  return record_bytes_of({root_ / files_.path(index), files_.size_bytes(index)}, options);
}

MadeRecord ImageFolder::read(std::int64_t index, const RecordOptions& options) const {
  MadeRecord made =
      make_record(read_image_file({root_ / files_.path(index), files_.size_bytes(index)}), files_.path(index), options);
  made.record.label = files_.label(index);
  return made;
}

std::string ImageFolder::describe(std::int64_t index) const { return printable_path(root_ / files_.path(index)); }

}  // namespace maskedkd
