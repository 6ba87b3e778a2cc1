// Reading: no file is used before its size and SHA-256 are verified with the manifest.
#include "layout.hpp"
#include "manifest.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/checkpoint/checkpoint.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"
#include "parts.hpp"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <system_error>

namespace maskedkd {
namespace {

// Whether the file system reports that there is no such file or folder. Throws Error on any other failure, which does
// not mean that the file is missing.
bool says_missing(const std::error_code& error, const std::filesystem::path& path) {
  const int reason = error.value();
  if (reason == ENOENT || reason == ENOTDIR || reason == EISDIR || reason == ELOOP ||
      error == std::errc::not_supported) {
    return true;
  }
  throw Error(fmt::format("can't look at {}: {}", path.string(), error.message()), hint_for_errno(reason),
              ExitCode::requeue);
}

// The size of a regular file; nullopt where there is none.
std::optional<std::uint64_t> size_of(const std::filesystem::path& file) {
  std::error_code error;
  const std::uint64_t size = std::filesystem::file_size(file, error);
  return error && says_missing(error, file) ? std::nullopt : std::optional(size);
}

Manifest read_manifest(const std::filesystem::path& path) {
  const std::filesystem::path file = path / kManifestName;
  const std::optional<std::uint64_t> size = size_of(file);
  if (!size) {
    refuse_damaged(path, kManifestName, "is missing or not a file");
  }
  if (*size > kLargestManifestBytes) {
    refuse_damaged(path, kManifestName, fmt::format("has {} bytes, more than any manifest", *size));
  }
  return parse_manifest(read_text_file(file), path, sha256_of_text);
}

void verify_file(const std::filesystem::path& path, const ManifestFile& expected) {
  const auto damaged = [&](const std::string& why) {
    refuse_damaged(path.parent_path(), path.filename().string(), why);
  };
  const std::optional<std::uint64_t> size = size_of(path);
  if (!size) {
    damaged("is missing");
  }
  if (*size != expected.size_bytes) {
    damaged(fmt::format("has {} bytes instead of {}", *size, expected.size_bytes));
  }
  if (sha256_of_file(path) != expected.sha256) {
    damaged("has another SHA-256 than when it was written");
  }
}

// The manifest of a checkpoint whose files are all intact.
Manifest verified_manifest(const std::filesystem::path& path) {
  Manifest manifest = read_manifest(path);
  for (const auto& [name, expected] : manifest.files) {
    verify_file(path / name, expected);
  }
  return manifest;
}

}  // namespace

std::filesystem::path follow_best(const std::filesystem::path& given) {
  const std::filesystem::path path = given.has_filename() ? given : given.parent_path();
  std::error_code none;
  if (path.filename() != kBestName || !std::filesystem::is_regular_file(path, none)) {
    return given;
  }
  std::string name = read_text_file_if_exists(path, kLargestManifestBytes).value_or("");
  name.resize(std::min(name.size(), name.find('\n')));
  return parse_checkpoint_name(name) ? path.parent_path() / name : given;
}

void verify_checkpoint(const std::filesystem::path& path) { verified_manifest(path); }

std::filesystem::path checkpoint_path(const std::filesystem::path& root, std::int64_t step, bool evaluated) {
  return root / to_string(CheckpointName{step, evaluated});
}

LoadedCheckpoint load_checkpoint(const std::filesystem::path& given) {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::canonical(follow_best(given), error);
  if ((error && says_missing(error, given)) || !std::filesystem::is_directory(path, error)) {
    throw usage_error(fmt::format("{} is not a checkpoint: no such folder", given.string()),
                      "a checkpoint is a folder named step-..., or best");
  }
  const Manifest manifest = verified_manifest(path);
  LoadedCheckpoint loaded;
  loaded.path = path;
  loaded.step = manifest.step;
  loaded.evaluated = manifest.evaluated;
  for (const auto& [name, expected] : manifest.files) {
    const std::filesystem::path file = name;
    if (file.extension() == kGroupSuffix) {
      const std::string group = group_of_stem(file.stem().string());
      SafetensorsFile content = read_safetensors(path / file);
      loaded.groups[group].merge(content.tensors);
      loaded.metadata[group].merge(content.metadata);
    }
  }
  loaded.state_json = read_text_file(path / kStateName);
  return loaded;
}

void verify_checkpoint_file(const std::filesystem::path& file) {
  if (!size_of(file.parent_path() / kManifestName)) {
    return;
  }
  const Manifest manifest = read_manifest(file.parent_path());
  const auto entry = manifest.files.find(file.filename().string());
  if (entry != manifest.files.end()) {
    verify_file(file, entry->second);
  }
}

std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& root) {
  std::vector<std::pair<CheckpointName, std::filesystem::path>> found;
  std::error_code error;
  std::filesystem::directory_iterator entry(root, error);
  if (error && says_missing(error, root)) {
    return {};
  }
  for (; entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const auto name = parse_checkpoint_name(entry->path().filename().string());
    if (name && entry->is_directory(error)) {
      found.emplace_back(*name, entry->path());
    }
    if (error && says_missing(error, entry->path())) {
      error.clear();  // another process has just removed it
    }
  }
  if (error) {
    says_missing(error, root);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::filesystem::path> paths;
  for (auto& [name, path] : found) {
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
      // One that can't be read now is not damaged: resuming from an older one, or from none, would discard it.
      if (error.code() != ExitCode::usage) {
        throw Error(fmt::format("can't read the checkpoint {}: {}", path->string(), error.what()), error.hint(),
                    ExitCode::requeue, error.where());
      }
      on_damaged(error.what());
    }
  }
  if (!checkpoints.empty()) {
    throw usage_error(fmt::format("none of the {} checkpoints in {} is intact", checkpoints.size(), root.string()),
                      "move them away to start the run from the beginning");
  }
  return std::nullopt;
}

}  // namespace maskedkd
