// manifest.json: sizes and SHA-256 of a checkpoint's files, and a SHA-256 of the manifest itself. Nothing here reads a
// file, so that a fuzzer can call it millions of times (tests/fuzz). Internal to this module.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace maskedkd {

struct ManifestFile {
  std::uint64_t size_bytes = 0;
  std::string sha256;  // lower-case hexadecimal
};

struct Manifest {
  std::int64_t step = 0;
  bool evaluated = false;
  std::map<std::string, ManifestFile> files;  // plain names, of files beside the manifest
};

inline constexpr std::uint64_t kLargestManifestBytes = std::uint64_t{1} << 20;

// sha256_of_text() of io/digest.hpp; a fuzzer can't guess a SHA-256 and passes a weaker function.
using Digest = std::string (*)(std::string_view);

// checkpoint: its path, for messages. Throws Error (usage) that says what is wrong with the text, and NewerFormat for
// an intact manifest of a newer program.
Manifest parse_manifest(std::string_view text, const std::filesystem::path& checkpoint, Digest digest);

// The file's text, in the format of this program.
std::string manifest_text(const Manifest& manifest, Digest digest);

// Throws the Error of a damaged checkpoint: `why` goes after the file's name.
[[noreturn]] void refuse_damaged(const std::filesystem::path& checkpoint, std::string_view file,
                                 const std::string& why);

}  // namespace maskedkd
