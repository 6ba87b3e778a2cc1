#include "preprocess/idx.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <new>
#include <span>

namespace maskedkd {
namespace {

constexpr std::uint32_t kImagesMagic = 0x00000803;
constexpr std::uint32_t kLabelsMagic = 0x00000801;
constexpr std::uint64_t kLargestFile = std::uint64_t{1} << 34;

// Reads plain and gzip files. Not through gzread() of zlib, which accepts a stream that is cut inside its final
// checksum.
class IdxFile {
 public:
  explicit IdxFile(const std::filesystem::path& path)
      : path_(path), file_(open_for_reading(path)), size_(file_size_bytes(file_, path)) {
    std::array<std::uint8_t, 2> magic{};
    if (size_ >= magic.size()) {
      read_exactly(file_, 0, magic, path_);
    }
    compressed_ = magic[0] == 0x1F && magic[1] == 0x8B;
    constexpr int kGzip = 16;
    if (compressed_ && inflateInit2(&stream_, MAX_WBITS + kGzip) != Z_OK) {
      throw std::bad_alloc();
    }
  }
  IdxFile(const IdxFile&) = delete;
  IdxFile& operator=(const IdxFile&) = delete;
  ~IdxFile() {
    if (compressed_) {
      inflateEnd(&stream_);
    }
  }

  std::uint32_t number() {
    std::array<std::uint8_t, 4> bytes{};
    read(bytes);
    return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 | bytes[3];
  }

  void read(std::span<std::uint8_t> out) {
    if (read_some(out) < out.size()) {
      refuse("it ends too early");
    }
  }

  void expect_end() {
    std::array<std::uint8_t, 1> one{};
    if (read_some(one) > 0) {
      refuse("bytes follow its last element");
    }
  }

  [[noreturn]] void refuse(const std::string& why) const {
    throw usage_error(fmt::format("{} is not a valid IDX file: {}", path_.string(), why), "download it again");
  }

 private:
  // Returns how many bytes were read: fewer than `out` has only at the end of the file.
  std::size_t read_some(std::span<std::uint8_t> out) {
    if (!compressed_) {
      out = out.first(std::min<std::uint64_t>(out.size(), size_ - position_));
      read_exactly(file_, position_, out, path_);
      position_ += out.size();
      return out.size();
    }
    stream_.next_out = out.data();
    stream_.avail_out = static_cast<unsigned>(out.size());  // IDX counts in 32 bits
    while (stream_.avail_out > 0 && !ended_) {
      if (stream_.avail_in == 0) {
        refill();
      }
      const int result = inflate(&stream_, Z_NO_FLUSH);
      if (result == Z_STREAM_END) {
        ended_ = stream_.avail_in == 0 && position_ == size_;
        inflateReset(&stream_);  // another gzip stream may follow
      } else if (result != Z_OK) {
        refuse("its gzip stream is damaged");
      }
    }
    return out.size() - stream_.avail_out;
  }

  void refill() {
    if (position_ == size_) {
      refuse("its gzip stream is cut");
    }
    input_.resize(std::min<std::uint64_t>(std::uint64_t{1} << 18, size_ - position_));
    read_exactly(file_, position_, input_, path_);
    position_ += input_.size();
    stream_.next_in = input_.data();
    stream_.avail_in = static_cast<unsigned>(input_.size());
  }

  std::filesystem::path path_;
  FileDescriptor file_;
  std::uint64_t size_ = 0, position_ = 0;  // in the file as it is stored
  bool compressed_ = false, ended_ = false;
  z_stream stream_{};
  std::vector<std::uint8_t> input_;
};

}  // namespace

IdxImages::IdxImages(const std::filesystem::path& images, const std::filesystem::path& labels,
                     std::vector<std::string> class_names)
    : path_(images), class_names_(std::move(class_names)) {
  IdxFile image_file(images);
  if (image_file.number() != kImagesMagic) {
    image_file.refuse("its magic number is not that of images");
  }
  const std::uint64_t count = image_file.number(), height = image_file.number(), width = image_file.number();
  if (count == 0 || height == 0 || width == 0 || height > 65536 || width > 65536 ||
      count > kLargestFile / (height * width)) {
    image_file.refuse(fmt::format("{} images of {} x {} pixels", count, width, height));
  }
  height_ = static_cast<std::int32_t>(height);
  width_ = static_cast<std::int32_t>(width);
  // In pieces, as the header may claim more than the file has.
  constexpr std::uint64_t kPiece = std::uint64_t{1} << 24;
  for (std::uint64_t total = count * height * width; pixels_.size() < total;) {
    const std::size_t begin = pixels_.size();
    pixels_.resize(begin + std::min(kPiece, total - begin));
    image_file.read(std::span(pixels_).subspan(begin));
  }
  image_file.expect_end();

  IdxFile label_file(labels);
  if (label_file.number() != kLabelsMagic) {
    label_file.refuse("its magic number is not that of labels");
  }
  if (const std::uint32_t label_count = label_file.number(); label_count != count) {
    label_file.refuse(fmt::format("it has {} labels for {} images", label_count, count));
  }
  labels_.resize(count);
  label_file.read(labels_);
  label_file.expect_end();

  for (auto name = class_names_.begin(); name != class_names_.end(); ++name) {
    if (name->empty() || std::find(class_names_.begin(), name, *name) != name) {
      throw usage_error(fmt::format("--class-names: '{}' is empty or listed twice", *name));
    }
  }
  if (const int smallest = *std::min_element(labels_.begin(), labels_.end()); smallest > 0) {
    spdlog::warn("{}: no image has label 0, the smallest is {} (as in EMNIST's letters): class 0 is empty",
                 labels.string(), smallest);
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

MadeRecord IdxImages::read(std::int64_t index, const RecordOptions&) const {
  const auto bytes = static_cast<std::size_t>(height_) * width_;
  const auto begin = pixels_.begin() + static_cast<std::ptrdiff_t>(bytes) * index;
  MadeRecord made;
  made.record.bytes.assign(begin, begin + static_cast<std::ptrdiff_t>(bytes));
  made.record.label = labels_.at(static_cast<std::size_t>(index));
  made.record.shape = {height_, width_, 1};
  return made;
}

std::string IdxImages::describe(std::int64_t index) const { return fmt::format("{}, image {}", path_.string(), index); }

}  // namespace maskedkd
