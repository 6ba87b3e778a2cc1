#include "preprocess/idx.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"

#include <zlib.h>

#include <algorithm>
#include <memory>
#include <span>

namespace maskedkd {
namespace {

constexpr std::uint32_t kImagesMagic = 0x00000803;
constexpr std::uint32_t kLabelsMagic = 0x00000801;
constexpr std::uint64_t kLargestFile = std::uint64_t{1} << 34;

// Reads plain and gzip files alike.
class IdxFile {
 public:
  explicit IdxFile(const std::filesystem::path& path) : path_(path), file_(nullptr, &gzclose) {
    open_for_reading(path);  // for its messages
    file_.reset(gzopen(path.c_str(), "rb"));
    if (file_ == nullptr) {
      throw Error(fmt::format("can't open {}", path.string()));
    }
  }

  std::uint32_t number() {
    std::uint8_t bytes[4];
    read(bytes);
    return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 | bytes[3];
  }

  void read(std::span<std::uint8_t> out) {
    while (!out.empty()) {
      const int count =
          gzread(file_.get(), out.data(), static_cast<unsigned>(std::min<std::size_t>(out.size(), 1u << 30)));
      if (count <= 0) {
        refuse("it ends too early or is damaged");
      }
      out = out.subspan(static_cast<std::size_t>(count));
    }
  }

  void expect_end() {
    std::uint8_t one;
    if (gzread(file_.get(), &one, 1) > 0) {
      refuse("it goes on after its last byte");
    }
    // A gzip stream that is cut inside its closing checksum looks like an end until it is closed.
    int state = Z_OK;
    gzerror(file_.get(), &state);
    if (const int closed = gzclose(file_.release()); state != Z_OK || closed != Z_OK) {
      refuse("it is cut or damaged");
    }
  }

  [[noreturn]] void refuse(const std::string& why) const {
    throw usage_error(fmt::format("{} is no good IDX file: {}", path_.string(), why), "download it again");
  }

 private:
  std::filesystem::path path_;
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
};

}  // namespace

IdxImages::IdxImages(const std::filesystem::path& images, const std::filesystem::path& labels,
                     std::vector<std::string> class_names)
    : path_(images), class_names_(std::move(class_names)) {
  IdxFile image_file(images);
  if (image_file.number() != kImagesMagic) {
    image_file.refuse("it does not begin as a file of images");
  }
  const std::uint64_t count = image_file.number(), height = image_file.number(), width = image_file.number();
  if (count == 0 || height == 0 || width == 0 || height > 65536 || width > 65536 ||
      count > kLargestFile / (height * width)) {
    image_file.refuse(fmt::format("{} images of {} x {} pixels", count, width, height));
  }
  height_ = static_cast<std::int32_t>(height);
  width_ = static_cast<std::int32_t>(width);
  // In pieces: a header may promise more than the file has.
  constexpr std::uint64_t kPiece = std::uint64_t{1} << 24;
  for (std::uint64_t total = count * height * width; pixels_.size() < total;) {
    const std::size_t begin = pixels_.size();
    pixels_.resize(begin + std::min(kPiece, total - begin));
    image_file.read(std::span(pixels_).subspan(begin));
  }
  image_file.expect_end();

  IdxFile label_file(labels);
  if (label_file.number() != kLabelsMagic) {
    label_file.refuse("it does not begin as a file of labels");
  }
  if (const std::uint32_t label_count = label_file.number(); label_count != count) {
    label_file.refuse(fmt::format("it has {} labels for {} images", label_count, count));
  }
  labels_.resize(count);
  label_file.read(labels_);
  label_file.expect_end();

  for (auto name = class_names_.begin(); name != class_names_.end(); ++name) {
    if (name->empty() || std::find(class_names_.begin(), name, *name) != name) {
      throw usage_error(fmt::format("--class-names: '{}' is empty or there twice", *name));
    }
  }
  const int largest = *std::max_element(labels_.begin(), labels_.end());
  if (class_names_.empty()) {
    for (int label = 0; label <= largest; ++label) {
      class_names_.push_back(std::to_string(label));
    }
  }
  if (largest >= static_cast<int>(class_names_.size())) {
    label_file.refuse(fmt::format("it has label {}, but there are {} classes", largest, class_names_.size()));
  }
}

std::string IdxImages::identity() const {
  Sha256 digest;
  digest.update(pixels_);
  digest.update(labels_);
  std::string text = fmt::format("idx {}x{} {}", height_, width_, digest.hex_digest());
  for (const std::string& name : class_names_) {
    text += '\0';
    text += name;
  }
  return text;
}

Record IdxImages::read(std::int64_t index, RecordEncoding) const {
  const auto bytes = static_cast<std::size_t>(height_) * width_;
  const auto begin = pixels_.begin() + static_cast<std::ptrdiff_t>(bytes) * index;
  return {{begin, begin + static_cast<std::ptrdiff_t>(bytes)},
          labels_.at(static_cast<std::size_t>(index)),
          {height_, width_, 1}};
}

std::string IdxImages::describe(std::int64_t index) const { return fmt::format("{}, image {}", path_.string(), index); }

}  // namespace maskedkd
