// What a file is that was given as safetensors and is none: the ones that people have at hand by mistake. Internal to
// this module.
#pragma once

#include "maskedkd/base/error.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>

namespace maskedkd {

// start: the file's first bytes, kForeignStartBytes of them where it has so many. nullopt where they could begin a
// safetensors file, or are of no known kind.
inline constexpr std::size_t kForeignStartBytes = 256;
std::optional<Error> foreign_file(std::span<const std::uint8_t> start, const std::filesystem::path& path);

}  // namespace maskedkd
