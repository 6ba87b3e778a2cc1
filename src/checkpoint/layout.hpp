// Names inside a checkpoint and how a step becomes a folder's name; shared by the sources of this room.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace maskedkd {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::string_view kStateName = "state.json";
inline constexpr std::string_view kBestName = "best";
inline constexpr std::string_view kGroupSuffix = ".safetensors";
inline constexpr std::string_view kStepPrefix = "step-";

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
