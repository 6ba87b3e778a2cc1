#include "preprocess/image_folder.hpp"

#include "maskedkd/base/log.hpp"
#include "maskedkd/images/image.hpp"
#include "maskedkd/io/posix.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>

namespace maskedkd {
namespace {

namespace fs = std::filesystem;

bool is_image_name(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return name.ends_with(".jpg") || name.ends_with(".jpeg") || name.ends_with(".png");
}

// Class names go into index.json.
bool is_utf8(const std::string& text) {
  try {
    return !nlohmann::json(text).dump().empty();
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

struct Listing {
  std::vector<fs::path> images;
  std::vector<fs::path> others;  // files that are no images by their names
};

// The image files below `folder`: folders in the order of their paths, in each the files by name.
void list_images(const fs::path& folder, Listing& listing) {
  std::vector<fs::path>& images = listing.images;
  std::vector<fs::path> folders = {folder};
  for (const auto& entry : fs::recursive_directory_iterator(folder, fs::directory_options::follow_directory_symlink)) {
    if (entry.is_directory()) {
      folders.push_back(entry.path());
    }
  }
  std::sort(folders.begin(), folders.end(),
            [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  for (const fs::path& one : folders) {
    const std::size_t begin = images.size();
    for (const auto& entry : fs::directory_iterator(one)) {
      if (!entry.is_directory()) {
        (is_image_name(entry.path().filename().string()) ? images : listing.others).push_back(entry.path());
      }
    }
    std::sort(images.begin() + static_cast<std::ptrdiff_t>(begin), images.end(),
              [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  }
}

}  // namespace

ImageFolder ImageFolder::scan(const fs::path& root) {
  std::error_code unreachable;
  if (!fs::is_directory(root, unreachable)) {
    throw usage_error(fmt::format("{} is not a folder", root.string()),
                      "--data-path names the folder of class folders");
  }
  ImageFolder source(root);
  std::vector<fs::path> others;
  try {
    for (const auto& entry : fs::directory_iterator(root)) {
      if (entry.is_directory()) {
        source.class_names_.push_back(entry.path().filename().string());
      }
    }
    std::sort(source.class_names_.begin(), source.class_names_.end());
    if (source.class_names_.empty()) {
      throw usage_error(fmt::format("{} holds no class folders", root.string()),
                        "it must look like DIR/class/image.jpg");
    }
    for (const std::string& name : source.class_names_) {
      if (!is_utf8(name)) {
        throw usage_error(fmt::format("the class folder {} has a name that is not UTF-8", (root / name).string()),
                          "rename it");
      }
    }
    for (std::size_t label = 0; label < source.class_names_.size(); ++label) {
      Listing listing;
      list_images(root / source.class_names_[label], listing);
      others.insert(others.end(), listing.others.begin(), listing.others.end());
      if (listing.images.empty()) {
        throw usage_error(
            fmt::format("the class folder {} holds no images", (root / source.class_names_[label]).string()),
            "images end in .jpg, .jpeg or .png; remove the folder if it is no class");
      }
      for (const fs::path& image : listing.images) {
        source.files_.push_back(
            {image.lexically_relative(root).string(), static_cast<std::int64_t>(label), fs::file_size(image)});
      }
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(fmt::format("can't list {}: {}", error.path1().string(), error.code().message()));
  }
  if (!others.empty()) {
    spdlog::warn("left out {} files that end neither in .jpg, .jpeg nor .png, the first of them {}", others.size(),
                 others.front().string());
  }
  return source;
}

// NUL-separated: the number of classes, their names, then path, label and size of each file.
std::string ImageFolder::serialise() const {
  std::string text = std::to_string(class_names_.size());
  const auto add = [&](const std::string& field) {
    text += '\0';
    text += field;
  };
  for (const std::string& name : class_names_) {
    add(name);
  }
  for (const File& file : files_) {
    add(file.path);
    add(std::to_string(file.label));
    add(std::to_string(file.size_bytes));
  }
  return text;
}

ImageFolder::ImageFolder(fs::path root, const std::string& serialised) : root_(std::move(root)) {
  std::size_t position = 0;
  const auto next = [&] {
    const std::size_t end = std::min(serialised.find('\0', position), serialised.size());
    std::string field = serialised.substr(position, end - position);
    position = end + 1;
    return field;
  };
  const auto next_number = [&] { return std::stoull(next()); };
  class_names_.resize(next_number());
  for (std::string& name : class_names_) {
    name = next();
  }
  while (position < serialised.size()) {
    File file;
    file.path = next();
    file.label = static_cast<std::int64_t>(next_number());
    file.size_bytes = next_number();
    files_.push_back(std::move(file));
  }
}

// Names and sizes, not contents: reading 140 GB to learn that they were packed already would take as long as packing
// them.
std::string ImageFolder::identity() const { return "imagefolder" + serialise(); }

Record ImageFolder::read(std::int64_t index, RecordEncoding encoding) const {
  const File& file = files_.at(static_cast<std::size_t>(index));
  const fs::path path = root_ / file.path;
  const FileDescriptor opened = open_for_reading(path);
  Record record;
  record.label = file.label;
  record.bytes.resize(file_size_bytes(opened, path));
  read_exactly(opened, 0, record.bytes, path);
  Image image;
  try {
    record.shape = read_image_shape(record.bytes);
    image = decode_image(record.bytes);
  } catch (const Error& error) {
    throw BrokenImage(error.what(), error.hint());
  }
  if (encoding == RecordEncoding::raw) {
    record.shape = {image.height, image.width, 3};
    record.bytes = std::move(image.pixels);
  }
  return record;
}

std::string ImageFolder::describe(std::int64_t index) const {
  return (root_ / files_.at(static_cast<std::size_t>(index)).path).string();
}

}  // namespace maskedkd
