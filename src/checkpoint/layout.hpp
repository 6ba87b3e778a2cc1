// Names inside a checkpoint and of its folder, and what makes one whole; shared by the sources of this module.
#pragma once

#include "maskedkd/base/error.hpp"
#include "maskedkd/checkpoint/run_layout.hpp"

#include <fmt/format.h>

#include <charconv>
#include <compare>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace maskedkd {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::string_view kGroupSuffix = ".safetensors";
inline constexpr std::string_view kStepPrefix = "step-";
inline constexpr std::string_view kEvaluatedSuffix = "-evaluated";

// The checkpoint has a newer format than this program reads: it is not damaged, and neither skipped nor replaced.
class NewerFormat : public Error {
 public:
  using Error::Error;
};

// Throws what load_checkpoint throws, without reading a tensor.
void verify_checkpoint(const std::filesystem::path& path);

struct CheckpointName {
  std::int64_t step = 0;
  bool evaluated = false;
  auto operator<=>(const CheckpointName&) const = default;
};

inline std::string to_string(const CheckpointName& name) {
  return fmt::format("{}{:09}{}", kStepPrefix, name.step, name.evaluated ? kEvaluatedSuffix : "");
}

inline std::optional<CheckpointName> parse_checkpoint_name(std::string_view text) {
  if (!text.starts_with(kStepPrefix)) {
    return std::nullopt;
  }
  text.remove_prefix(kStepPrefix.size());
  CheckpointName name;
  name.evaluated = text.ends_with(kEvaluatedSuffix);
  text.remove_suffix(name.evaluated ? kEvaluatedSuffix.size() : 0);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), name.step);
  if (error != std::errc() || end != text.data() + text.size() || name.step < 0) {
    return std::nullopt;
  }
  return name;
}

}  // namespace maskedkd
