// Recognises formats by their first bytes, which are those of their specifications and of the Unix command file(1).
#include "file_parts.hpp"

#include <algorithm>
#include <string_view>

namespace maskedkd {
namespace {

using namespace std::string_view_literals;

struct Format {
  const char* name;
  bool is_image;
  std::size_t at;  // offset of `magic`
  std::string_view magic;
  std::size_t also_at = 0;  // offset of `also`, which must be present too
  std::string_view also = {};
};

constexpr Format kFormats[] = {
    {"GIF", true, 0, "GIF87a"sv},
    {"GIF", true, 0, "GIF89a"sv},
    {"WebP", true, 0, "RIFF"sv, 8, "WEBP"sv},
    {"TIFF", true, 0, "II*\0"sv},
    {"TIFF", true, 0, "MM\0*"sv},
    {"TIFF", true, 0, "II+\0"sv},
    {"TIFF", true, 0, "MM\0+"sv},
    {"AVIF", true, 4, "ftypavif"sv},
    {"AVIF", true, 4, "ftypavis"sv},
    {"HEIC", true, 4, "ftypheic"sv},
    {"HEIC", true, 4, "ftypheix"sv},
    {"HEIC", true, 4, "ftypheim"sv},
    {"HEIC", true, 4, "ftypheis"sv},
    {"HEIC", true, 4, "ftyphevc"sv},
    {"HEIC", true, 4, "ftyphevx"sv},
    {"HEIF", true, 4, "ftypmif1"sv},
    {"HEIF", true, 4, "ftypmsf1"sv},
    {"JPEG 2000", true, 0, "\0\0\0\x0CjP  \r\n\x87\n"sv},
    {"JPEG 2000", true, 0, "\xFF\x4F\xFF\x51"sv},
    {"JPEG XL", true, 0, "\xFF\x0A"sv},
    {"JPEG XL", true, 0, "\0\0\0\x0CJXL \r\n\x87\n"sv},
    {"JPEG XR", true, 0, "II\xBC"sv},
    {"ICO", true, 0, "\0\0\1\0"sv},
    {"ICNS", true, 0, "icns"sv},
    {"PCX", true, 0, "\x0A\x05\x01\x08"sv},
    {"Photoshop (PSD)", true, 0, "8BPS"sv},
    {"QOI", true, 0, "qoif"sv},
    {"DDS", true, 0, "DDS "sv},
    {"OpenEXR", true, 0, "v/1\1"sv},
    {"SGI", true, 0, "\x01\xDA"sv},
    {"PDF", false, 0, "%PDF-"sv},
    {"PostScript", false, 0, "%!PS"sv},
    {"MP4 or another video", false, 4, "ftyp"sv},
    {"gzip", false, 0, "\x1F\x8B"sv},
    {"bzip2", false, 0, "BZh"sv},
    {"xz", false, 0,
     "\xFD"
     "7zXZ\0"sv},
    {"Zstandard", false, 0, "\x28\xB5\x2F\xFD"sv},
    {"zip", false, 0, "PK\3\4"sv},
    {"RAR", false, 0, "Rar!\x1A\x07"sv},
    {"7z", false, 0, "7z\xBC\xAF\x27\x1C"sv},
    {"tar", false, 257, "ustar"sv},
    {"HDF5", false, 0, "\x89HDF\r\n\x1A\n"sv},
    {"NumPy", false, 0, "\x93NUMPY"sv},
    {"AppleDouble (metadata of macOS, named ._...)", false, 0, "\0\5\x16\7"sv},
    {"Git LFS pointer", false, 0, "version https://git-lfs"sv},
    {"BMP", true, 0, "BM"sv, 6, "\0\0\0\0"sv},
};

bool stands_at(std::string_view text, std::size_t at, std::string_view part) {
  return at <= text.size() && text.substr(at).starts_with(part);
}

bool is_netpbm(std::string_view text) {
  return text.size() > 3 && text[0] == 'P' && text[1] >= '1' && text[1] <= '7' &&
         (text[2] == '\n' || text[2] == ' ' || text[2] == '\r' || text[2] == '\t');
}

// The kind of markup in the file, often an error page that was downloaded instead of an image; nullptr for none.
const char* markup_of(std::string_view text) {
  constexpr std::size_t kHeadBytes = 512;
  std::string head(text.substr(0, std::min(text.size(), kHeadBytes)));
  std::transform(head.begin(), head.end(), head.begin(),
                 [](char letter) { return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter + 32) : letter; });
  std::string_view rest = head;
  if (rest.starts_with("\xEF\xBB\xBF")) {
    rest.remove_prefix(3);
  }
  rest.remove_prefix(std::min(rest.find_first_not_of(" \t\r\n"), rest.size()));
  if (rest.starts_with("{")) {
    return "JSON";
  }
  if (!rest.starts_with("<")) {
    return nullptr;
  }
  return rest.find("<svg") != std::string_view::npos                                          ? "SVG"
         : rest.starts_with("<!doctype html") || rest.find("<html") != std::string_view::npos ? "HTML"
         : rest.starts_with("<?xml")                                                          ? "XML"
                                                                                              : nullptr;
}

bool is_text(std::string_view text) {
  return std::all_of(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(text.size(), 512)),
                     [](char letter) {
                       const auto byte = static_cast<unsigned char>(letter);
                       return byte >= 0x80 || (byte >= 0x20 && byte < 0x7F) || (byte >= '\t' && byte <= '\r');
                     });
}

[[noreturn]] void refuse_as(const char* name, bool is_image) {
  throw usage_error(fmt::format("neither JPEG nor PNG but {}{}", name,
                                is_image ? ": convert it to JPEG or PNG" : ", which is not an image"));
}

}  // namespace

void refuse_format(std::span<const std::uint8_t> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.empty()) {
    throw usage_error("neither JPEG nor PNG: the file is empty");
  }
  for (const Format& format : kFormats) {
    if (stands_at(text, format.at, format.magic) && stands_at(text, format.also_at, format.also)) {
      refuse_as(format.name, format.is_image);
    }
  }
  if (is_netpbm(text)) {
    refuse_as("PNM", true);
  }
  if (const char* markup = markup_of(text)) {
    refuse_as(markup, std::string_view(markup) == "SVG");
  }
  if (std::all_of(text.begin(), text.end(), [](char byte) { return byte == 0; })) {
    throw usage_error("neither JPEG nor PNG: every byte of the file is 0");
  }
  throw usage_error(is_text(text) ? "neither JPEG nor PNG but text" : "neither JPEG nor PNG");
}

}  // namespace maskedkd
