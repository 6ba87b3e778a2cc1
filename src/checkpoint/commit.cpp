// Writing: everything into a directory of its own, the manifest last, then one rename.
#include "layout.hpp"
#include "manifest.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/checkpoint/checkpoint.hpp"
#include "maskedkd/io/atomic_directory.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"

#include <unistd.h>

#include <cstdio>

namespace maskedkd {
namespace {

constexpr std::uint64_t kSlackBytes = std::uint64_t{1} << 20;  // headers, manifest, file system blocks

void check_free_space(const std::filesystem::path& root, const CheckpointContent& content) {
  std::uint64_t needed = kSlackBytes + content.state_json.size();
  for (const auto& [group, tensors] : content.groups) {
    for (const auto& [name, tensor] : tensors) {
      needed += tensor.nbytes();
    }
  }
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(root, error);
  if (!error && space.available < needed) {
    throw Error(fmt::format("no room for a checkpoint in {}: {} MB needed, {} MB free", root.string(), needed >> 20,
                            space.available >> 20),
                "free some space, or lower --keep-checkpoints; earlier checkpoints are untouched");
  }
}

// Renamed before it is removed, so that a kill in between leaves nothing that looks like a checkpoint.
void remove_checkpoint(const std::filesystem::path& path) {
  const std::filesystem::path doomed =
      path.parent_path() / fmt::format(".tmp-removed-{}-{}", path.filename().string(), ::getpid());
  std::error_code ignored;
  std::filesystem::remove_all(doomed, ignored);
  std::filesystem::rename(path, doomed);
  std::filesystem::remove_all(doomed);
}

// Throws Error where it is of a newer format.
bool verifies(const std::filesystem::path& path) {
  try {
    verify_checkpoint(path);
    return true;
  } catch (const NewerFormat&) {
    throw;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::filesystem::path save_checkpoint(const std::filesystem::path& root, const CheckpointContent& content) {
  try {
    std::filesystem::create_directories(root);
    const std::filesystem::path path = root / checkpoint_name(content.step);
    if (std::filesystem::exists(path)) {
      if (verifies(path)) {
        return path;
      }
      remove_checkpoint(path);
    }
    check_free_space(root, content);
    AtomicDirectory directory(path);
    Manifest manifest;
    manifest.step = content.step;
    const auto list = [&](const std::string& name) {
      const std::filesystem::path file = directory.path() / name;
      manifest.files[name] = {std::filesystem::file_size(file), sha256_of_file(file)};
    };
    for (const auto& [group, tensors] : content.groups) {
      const std::string name = group + std::string(kGroupSuffix);
      write_safetensors(directory.path() / name, tensors, {{"format", "pt"}});
      list(name);
    }
    write_file_atomically(directory.path() / kStateName, content.state_json);
    list(std::string(kStateName));
    write_file_atomically(directory.path() / kManifestName, manifest_text(manifest, sha256_of_text));
    directory.commit();
    return path;
  } catch (const std::filesystem::filesystem_error& error) {
    throw Error(fmt::format("can't save a checkpoint in {}: {}", root.string(), error.code().message()),
                "earlier checkpoints are untouched");
  } catch (const Error& error) {
    throw Error(fmt::format("can't save a checkpoint in {}: {}", root.string(), error.what()),
                error.hint().empty() ? "earlier checkpoints are untouched" : error.hint(), error.code(), error.where());
  }
}

void mark_best(const std::filesystem::path& root, const std::filesystem::path& checkpoint) {
  const std::filesystem::path temporary = root / fmt::format(".tmp-best-{}", ::getpid());
  std::error_code ignored;
  std::filesystem::remove(temporary, ignored);
  try {
    std::filesystem::create_directory_symlink(checkpoint.filename(), temporary);
    std::filesystem::rename(temporary, root / kBestName);
  } catch (const std::filesystem::filesystem_error& error) {
    std::filesystem::remove(temporary, ignored);
    throw Error(fmt::format("can't mark the best checkpoint in {}: {}", root.string(), error.code().message()));
  }
  sync_directory(root);
}

void retain_checkpoints(const std::filesystem::path& root, const RetentionOptions& options) {
  try {
    std::vector<std::filesystem::path> checkpoints = list_checkpoints(root);
    // A run that fell back behind damaged checkpoints saves steps before theirs: were those counted, it would throw
    // away what it can go on from.
    int whole = 0;
    while (!checkpoints.empty() && whole < options.keep_last) {
      const bool few = checkpoints.size() <= static_cast<std::size_t>(options.keep_last - whole);
      whole += few || verifies(checkpoints.back()) ? 1 : 0;
      checkpoints.pop_back();
    }
    std::error_code no_best;
    const std::filesystem::path best = std::filesystem::read_symlink(root / kBestName, no_best).filename();
    for (const auto& checkpoint : checkpoints) {
      if (checkpoint.filename() != best) {
        remove_checkpoint(checkpoint);
      }
    }
    sweep_unfinished(root);
  } catch (const std::filesystem::filesystem_error& error) {
    throw Error(fmt::format("can't remove old checkpoints in {}: {}", root.string(), error.code().message()));
  }
}

}  // namespace maskedkd
