// Recognises files of other formats that users give in place of safetensors files. Internal to this module.
#pragma once

#include "maskedkd/base/error.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>

namespace maskedkd {

// start: the first kForeignStartBytes bytes of the file, or all of a shorter one. Returns an Error that names the
// format, and nullopt where they may begin a safetensors file or belong to no known format.
inline constexpr std::size_t kForeignStartBytes = 256;
std::optional<Error> foreign_file(std::span<const std::uint8_t> start, const std::filesystem::path& path);

}  // namespace maskedkd
