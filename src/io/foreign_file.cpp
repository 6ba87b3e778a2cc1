#include "foreign_file.hpp"

#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace maskedkd {
namespace {

using namespace std::string_view_literals;

struct Kind {
  std::string_view begins;
  const char* is;
  const char* hint;
};
constexpr const char* kDownloadAgain = "download the weights themselves again";
constexpr const char* kOtherForm = "get the weights as a safetensors file or as a file of torch.save";
constexpr std::array kKinds = {
    Kind{"version https://git-lfs"sv, "a Git LFS pointer", "fetch the weights that it points to: git lfs pull"},
    Kind{"\x1f\x8b"sv, "a gzip archive", "unpack it first: gzip -d or tar -xzf"},
    Kind{"\x89HDF\r\n\x1a\n"sv, "an HDF5 file", "weights are read from safetensors files"},
    Kind{"\x89PNG"sv, "a PNG image", "name the file of the weights"},
    Kind{"\xff\xd8\xff"sv, "a JPEG image", "name the file of the weights"},
    Kind{"GGUF"sv, "a GGUF file", kOtherForm},
    Kind{"\x93NUMPY"sv, "a NumPy array", kOtherForm},
};

// Formats without a signature, by the extensions of their files.
constexpr std::array kEndings = {
    std::pair{".onnx"sv, "an ONNX file"},
    std::pair{".msgpack"sv, "a Flax file"},
    std::pair{".tflite"sv, "a TensorFlow Lite file"},
};

// The name of the first file in a zip archive (APPNOTE.TXT of PKWARE, section 4.3.7); "" for anything else.
std::string_view first_name_in_zip(std::string_view text) {
  constexpr std::size_t kNameLengthAt = 26, kNameAt = 30;
  if (text.size() < kNameAt || text.substr(0, 4) != "PK\x03\x04"sv) {
    return {};
  }
  const auto byte = [&](std::size_t at) { return static_cast<std::size_t>(static_cast<unsigned char>(text[at])); };
  return text.substr(kNameAt, byte(kNameLengthAt) + 256 * byte(kNameLengthAt + 1));
}

bool is_pickle(std::string_view text, const std::filesystem::path& path) {
  const bool zip = text.substr(0, 4) == "PK\x03\x04"sv;
  const bool bare = text.size() > 1 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5;
  const std::string ending = path.extension().string();
  const bool named = ending == ".pth" || ending == ".pt" || ending == ".bin" || ending == ".ckpt";
  return zip || bare || (named && text.size() > 8);
}

// Quoted so that a shell reads it as one word.
std::string name_in_quotes(const std::string& name) {
  std::string text = "'";
  for (const char c : name) {
    text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return text + "'";
}

// Whether the first character after blanks and a byte order mark is that of markup.
bool is_web_page(std::string_view text) {
  if (text.substr(0, 3) == "\xef\xbb\xbf"sv) {
    text.remove_prefix(3);
  }
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && text[first] == '<';
}

}  // namespace

std::optional<Error> foreign_file(std::span<const std::uint8_t> start, const std::filesystem::path& path) {
  const std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
  if (text.size() > 8 && text[8] == '{') {
    return std::nullopt;  // 8 bytes of length, then JSON
  }
  const auto is = [&](const std::string& what, const std::string& hint) {
    return usage_error(fmt::format("{} is {}, not a safetensors file", path.string(), what), hint);
  };
  for (const Kind& kind : kKinds) {
    if (text.substr(0, kind.begins.size()) == kind.begins) {
      return is(kind.is, kind.hint);
    }
  }
  if (is_web_page(text)) {
    return is("a web page (HTML or XML) that was saved under this name", kDownloadAgain);
  }
  if (first_name_in_zip(text).ends_with(".npy")) {
    return is("a NumPy archive (.npz), as JAX weights are published",
              "timm reads those of ViT: take timm's file of the same model");
  }
  for (const auto& [ending, what] : kEndings) {
    if (path.extension() == ending) {
      return is(what, kOtherForm);
    }
  }
  if (is_pickle(text, path)) {
    std::filesystem::path converted = path;
    converted.replace_extension(path.extension() == ".safetensors" ? ".converted.safetensors" : ".safetensors");
    const auto quoted = [](const std::filesystem::path& name) {  // for a shell
      const std::string raw = name.string();
      return raw.find_first_of(" \t'\"$&;()<>|*?[]") == std::string::npos ? raw : name_in_quotes(raw);
    };
    return is("a PyTorch pickle",
              "convert it: python3 preprocess/pth_to_safetensors.py " + quoted(path) + " " + quoted(converted));
  }
  return std::nullopt;
}

}  // namespace maskedkd
