#include "parts.hpp"

#include "layout.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <thread>

namespace maskedkd {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNoteSuffix = ".written";
constexpr const char* kAttempt = "-attempt-";
constexpr auto kPollInterval = std::chrono::milliseconds(50);

std::string part_stem(const std::string& group, int part, int num_parts) {
  return num_parts == 1 ? group : fmt::format("{}-{:05}-of-{:05}", group, part + 1, num_parts);
}

}  // namespace

std::string group_of_stem(const std::string& stem) {
  constexpr std::size_t kEnd = std::string_view("-00001-of-00001").size();
  if (stem.size() <= kEnd) {
    return stem;
  }
  const std::string_view end = std::string_view(stem).substr(stem.size() - kEnd);
  const auto is_number = [](std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  const bool is_part =
      end[0] == '-' && is_number(end.substr(1, 5)) && end.substr(6, 4) == "-of-" && is_number(end.substr(10));
  return is_part ? stem.substr(0, stem.size() - kEnd) : stem;
}

std::vector<PlannedFile> plan_checkpoint_files(const std::map<std::string, NamedTensors>& groups, int num_writers,
                                               std::uint64_t largest_bytes, const std::set<std::string>& whole) {
  std::vector<PlannedFile> files;
  int writer = 0;
  for (const auto& [group, tensors] : groups) {
    const std::uint64_t bytes = total_bytes(tensors);
    const auto wanted = static_cast<int>((bytes + largest_bytes - 1) / largest_bytes);
    const int num_parts = whole.count(group) > 0
                              ? 1
                              : std::clamp(wanted, 1, std::min<int>(num_writers, static_cast<int>(tensors.size())));
    std::uint64_t done = 0;
    std::size_t next = 0;
    for (int part = 0; part < num_parts; ++part) {
      PlannedFile file{part_stem(group, part, num_parts), group, next, next, writer};
      // So many tensors that the sum reaches this part's share of the bytes, leaving at least one for each later part.
      const std::size_t latest = tensors.size() - static_cast<std::size_t>(num_parts - 1 - part);
      while (file.last < latest &&
             (file.last == file.first || part == num_parts - 1 ||
              done < bytes / static_cast<std::uint64_t>(num_parts) * static_cast<std::uint64_t>(part + 1))) {
        done += tensors[file.last++].second.nbytes();
      }
      next = file.last;
      files.push_back(std::move(file));
      writer = (writer + 1) % num_writers;
    }
  }
  return files;
}

fs::path unfinished_folder(const fs::path& staging_folder, const CheckpointContent& content) {
  return staging_folder /
         fmt::format("{}{}{}", to_string(CheckpointName{content.step, content.evaluated}), kAttempt, content.attempt);
}

void remove_other_attempts(const fs::path& staging_folder, const fs::path& kept) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(staging_folder, ignored)) {
    if (entry.path() != kept && entry.path().filename().string().find(kAttempt) != std::string::npos) {
      fs::remove_all(entry.path(), ignored);
    }
  }
}

ManifestFile write_group(const fs::path& folder, const std::string& stem, const CheckpointContent& content) {
  SafetensorsMetadata metadata = {{"format", "pt"}};
  if (const auto more = content.metadata.find(group_of_stem(stem)); more != content.metadata.end()) {
    metadata.insert(more->second.begin(), more->second.end());
  }
  const fs::path file = folder / (stem + std::string(kGroupSuffix));
  Sha256 digest;
  write_safetensors(file, content.groups.at(stem), metadata, &digest);
  return {fs::file_size(file), digest.hex_digest()};
}

void save_checkpoint_part(const fs::path& staging_folder, const CheckpointContent& content) {
  try {
    const fs::path folder = unfinished_folder(staging_folder, content);
    fs::create_directory(folder);
    for (const auto& [stem, unused] : content.groups) {
      const ManifestFile file = write_group(folder, stem, content);
      const nlohmann::json note = {{"size_bytes", file.size_bytes}, {"sha256", file.sha256}};
      write_file_atomically(folder / (stem + kNoteSuffix), note.dump());
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(
        fmt::format("can't save a part of a checkpoint in {}: {}", staging_folder.string(), error.code().message()));
  }
}

void collect_parts(const fs::path& folder, const std::set<std::string>& stems, const std::atomic<bool>* cancelled,
                   Manifest& manifest) {
  for (const std::string& stem : stems) {
    const fs::path note = folder / (stem + kNoteSuffix);
    // By listing the folder: a network file system may remember for a while that a name did not exist.
    const auto is_written = [&] {
      return std::any_of(fs::directory_iterator(folder), fs::directory_iterator(),
                         [&](const auto& entry) { return entry.path() == note; });
    };
    while (!is_written()) {
      if (cancelled != nullptr && *cancelled) {
        throw Error(fmt::format("another rank could not write {}", stem + std::string(kGroupSuffix)));
      }
      std::this_thread::sleep_for(kPollInterval);
    }
    const auto json = nlohmann::json::parse(read_text_file(note));
    manifest.files[stem + std::string(kGroupSuffix)] = {json.at("size_bytes").get<std::uint64_t>(),
                                                        json.at("sha256").get<std::string>()};
    fs::remove(note);
  }
}

}  // namespace maskedkd
