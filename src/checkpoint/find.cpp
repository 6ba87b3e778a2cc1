// Reading: nothing is believed before its size and SHA-256 are what the manifest says.
#include "layout.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/checkpoint/checkpoint.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace maskedkd {
namespace {

nlohmann::json read_manifest(const std::filesystem::path& path) {
  const auto damaged = [&](const std::string& why) {
    return usage_error(fmt::format("the checkpoint {} is damaged: {} {}", path.string(), kManifestName, why),
                       "resume from an earlier one");
  };
  nlohmann::json manifest;
  try {
    manifest = nlohmann::json::parse(read_text_file(path / kManifestName));
  } catch (const nlohmann::json::exception&) {
    throw damaged("is not JSON");
  } catch (const Error&) {
    throw damaged("is missing or can't be read");
  }
  const auto number = [&](const char* key) {
    return manifest.is_object() && manifest.contains(key) && manifest[key].is_number_integer();
  };
  if (!number("format_version") || !number("step") || !manifest.contains("files") || !manifest["files"].is_object()) {
    throw damaged("lacks format_version, step or files");
  }
  // The manifest vouches for the files; this vouches for the manifest.
  nlohmann::json content = manifest;
  content.erase("manifest_sha256");
  if (manifest.value("manifest_sha256", nlohmann::json()) != sha256_of_text(content.dump())) {
    throw damaged("has another SHA-256 than when it was written");
  }
  if (manifest["format_version"].get<std::int64_t>() > kCheckpointFormatVersion) {
    throw NewerFormat(fmt::format("the checkpoint {} has format {}, this program reads up to {}", path.string(),
                                  manifest["format_version"].get<std::int64_t>(), kCheckpointFormatVersion),
                      "use the newer program", ExitCode::usage);
  }
  for (const auto& [name, file] : manifest["files"].items()) {
    if (name.find('/') != std::string::npos || !file.is_object() || !file.contains("size_bytes") ||
        !file["size_bytes"].is_number_unsigned() || !file.contains("sha256") || !file["sha256"].is_string()) {
      throw damaged(fmt::format("has a malformed entry for {}", name));
    }
  }
  if (!manifest["files"].contains(kStateName)) {
    throw damaged(fmt::format("does not list {}", kStateName));
  }
  return manifest;
}

void verify_file(const std::filesystem::path& path, const nlohmann::json& expected) {
  const auto damaged = [&](const std::string& why) {
    return usage_error(
        fmt::format("the checkpoint {} is damaged: {} {}", path.parent_path().string(), path.filename().string(), why),
        "resume from an earlier one");
  };
  std::error_code error;
  const std::uint64_t size = std::filesystem::file_size(path, error);
  if (error) {
    throw damaged("is missing");
  }
  if (size != expected["size_bytes"].get<std::uint64_t>()) {
    throw damaged(fmt::format("has {} bytes instead of {}", size, expected["size_bytes"].get<std::uint64_t>()));
  }
  if (sha256_of_file(path) != expected["sha256"].get<std::string>()) {
    throw damaged("has another SHA-256 than when it was written");
  }
}

// The manifest of a checkpoint that is whole.
nlohmann::json verified_manifest(const std::filesystem::path& path) {
  nlohmann::json manifest = read_manifest(path);
  for (const auto& [name, expected] : manifest["files"].items()) {
    verify_file(path / name, expected);
  }
  return manifest;
}

}  // namespace

void verify_checkpoint(const std::filesystem::path& path) { verified_manifest(path); }

std::filesystem::path checkpoint_path(const std::filesystem::path& root, std::int64_t step) {
  return root / checkpoint_name(step);
}

LoadedCheckpoint load_checkpoint(const std::filesystem::path& given) {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::canonical(given, error);
  if (error || !std::filesystem::is_directory(path)) {
    throw usage_error(fmt::format("{} is not a checkpoint: no such folder", given.string()),
                      "a checkpoint is a folder named step-..., or best");
  }
  const nlohmann::json manifest = verified_manifest(path);
  LoadedCheckpoint loaded;
  loaded.path = path;
  loaded.step = manifest["step"].get<std::int64_t>();
  for (const auto& [name, expected] : manifest["files"].items()) {
    const std::filesystem::path file = name;
    if (file.extension() == kGroupSuffix) {
      loaded.groups[file.stem().string()] = read_safetensors(path / file).tensors;
    }
  }
  loaded.state_json = read_text_file(path / kStateName);
  return loaded;
}

void verify_checkpoint_file(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file.parent_path() / kManifestName)) {
    return;
  }
  const nlohmann::json manifest = read_manifest(file.parent_path());
  const auto entry = manifest["files"].find(file.filename().string());
  if (entry != manifest["files"].end()) {
    verify_file(file, *entry);
  }
}

std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& root) {
  std::vector<std::pair<std::int64_t, std::filesystem::path>> found;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(root, missing)) {
    const auto step = step_of_name(entry.path().filename().string());
    if (step && entry.is_directory()) {
      found.emplace_back(*step, entry.path());
    }
  }
  std::sort(found.begin(), found.end());
  std::vector<std::filesystem::path> paths;
  for (auto& [step, path] : found) {
    paths.push_back(std::move(path));
  }
  return paths;
}

std::optional<LoadedCheckpoint> find_newest_checkpoint(const std::filesystem::path& root,
                                                       const std::function<void(const std::string&)>& on_damaged) {
  std::vector<std::filesystem::path> checkpoints = list_checkpoints(root);
  for (auto path = checkpoints.rbegin(); path != checkpoints.rend(); ++path) {
    try {
      return load_checkpoint(*path);
    } catch (const NewerFormat&) {
      throw;
    } catch (const Error& error) {
      on_damaged(error.what());
    }
  }
  return std::nullopt;
}

}  // namespace maskedkd
