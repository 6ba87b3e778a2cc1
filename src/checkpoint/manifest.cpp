#include "manifest.hpp"

#include "layout.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/checkpoint/format_version.hpp"
#include "maskedkd/io/strict_json.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>
#include <optional>

namespace maskedkd {
namespace {

// A newer format may be nested deeper than this one, and must not be taken for damage.
constexpr JsonLimits kLimits{.depth = 16, .list_length = 4096};
constexpr const char* kDigestKey = "manifest_sha256";

std::optional<std::uint64_t> whole_number(const nlohmann::json& object, const char* key) {
  const auto value = object.find(key);
  if (value == object.end() || !value->is_number_unsigned() ||
      value->get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
    return std::nullopt;
  }
  return value->get<std::uint64_t>();
}

// A file's name without any folder.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         std::none_of(name.begin(), name.end(), [](char c) { return c == '/' || c == '\0'; });
}

std::optional<ManifestFile> parse_file(const nlohmann::json& value) {
  if (!value.is_object()) {
    return std::nullopt;
  }
  const auto size = whole_number(value, "size_bytes");
  const auto sha256 = value.find("sha256");
  if (!size || sha256 == value.end() || !sha256->is_string()) {
    return std::nullopt;
  }
  const auto& text = sha256->get_ref<const std::string&>();
  const auto is_hexadecimal = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (text.size() != 64 || !std::all_of(text.begin(), text.end(), is_hexadecimal)) {
    return std::nullopt;
  }
  return ManifestFile{*size, text};
}

}  // namespace

void refuse_damaged(const std::filesystem::path& checkpoint, std::string_view file, const std::string& why) {
  throw usage_error(fmt::format("the checkpoint {} is damaged: {} {}", checkpoint.string(), file, why),
                    "resume from an earlier one");
}

Manifest parse_manifest(std::string_view text, const std::filesystem::path& checkpoint, Digest digest) {
  const auto refuse = [&](const std::string& why) { refuse_damaged(checkpoint, kManifestName, why); };
  nlohmann::json content;
  try {
    content = parse_strict_json(text, kLimits);
  } catch (const JsonRefusal& refusal) {
    refuse(refusal.what());
  }
  const auto format_version = whole_number(content, "format_version");
  const auto step = whole_number(content, "step");
  const auto files = content.find("files");
  if (!format_version || *format_version < 1 || !step || files == content.end() || !files->is_object()) {
    refuse("lacks format_version, step or files");
  }
  const nlohmann::json written = content.value(kDigestKey, nlohmann::json());
  content.erase(kDigestKey);
  if (written != digest(content.dump())) {
    refuse("has another SHA-256 than when it was written");
  }
  if (*format_version > kCheckpointFormatVersion) {
    throw NewerFormat(fmt::format("the checkpoint {} has format {}, this program reads up to {}", checkpoint.string(),
                                  *format_version, kCheckpointFormatVersion),
                      "use the newer program", ExitCode::usage);
  }
  Manifest manifest;
  manifest.step = static_cast<std::int64_t>(*step);
  const auto evaluated = content.find("evaluated");
  if (evaluated != content.end() && !evaluated->is_boolean()) {
    refuse("has an `evaluated` that is neither true nor false");
  }
  manifest.evaluated = evaluated != content.end() && evaluated->get<bool>();
  for (const auto& [name, value] : content["files"].items()) {
    const auto file = parse_file(value);
    if (!is_plain_name(name) || !file) {
      refuse("has a malformed entry for " + quoted_name(name));
    }
    manifest.files.emplace(name, *file);
  }
  if (manifest.files.count(kStateName) == 0) {
    refuse(fmt::format("does not list {}", kStateName));
  }
  return manifest;
}

std::string manifest_text(const Manifest& manifest, Digest digest) {
  nlohmann::json content = {
      {"format_version", kCheckpointFormatVersion}, {"step", manifest.step}, {"files", nlohmann::json::object()}};
  if (manifest.evaluated) {
    content["evaluated"] = true;
  }
  for (const auto& [name, file] : manifest.files) {
    content["files"][name] = {{"size_bytes", file.size_bytes}, {"sha256", file.sha256}};
  }
  content[kDigestKey] = digest(content.dump());
  return content.dump(2) + "\n";
}

}  // namespace maskedkd
