// Names inside a checkpoint, how a step becomes a folder's name, and what makes one whole; shared by the sources of
// this room.
#pragma once

#include "maskedkd/base/error.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace maskedkd {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::string_view kStateName = "state.json";
inline constexpr std::string_view kBestName = "best";
inline constexpr std::string_view kGroupSuffix = ".safetensors";
inline constexpr std::string_view kStepPrefix = "step-";

// Of a format that this program does not know yet: no damage, and nothing to pass over in silence, or to replace.
class NewerFormat : public Error {
 public:
  using Error::Error;
};

// Throws what load_checkpoint throws, without reading a tensor.
void verify_checkpoint(const std::filesystem::path& path);

inline std::string checkpoint_name(std::int64_t step) { return fmt::format("{}{:09}", kStepPrefix, step); }

inline std::optional<std::int64_t> step_of_name(std::string_view name) {
  if (name.substr(0, kStepPrefix.size()) != kStepPrefix) {
    return std::nullopt;
  }
  name.remove_prefix(kStepPrefix.size());
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (error != std::errc() || end != name.data() + name.size() || step < 0) {
    return std::nullopt;
  }
  return step;
}

}  // namespace maskedkd
