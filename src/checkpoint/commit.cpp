// Writing: everything into a temporary directory, the manifest last, then one rename.
#include "layout.hpp"
#include "manifest.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/checkpoint/checkpoint.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"
#include "parts.hpp"

#include <optional>

namespace maskedkd {
namespace {

constexpr std::uint64_t kSlackBytes = std::uint64_t{1} << 20;  // headers, manifest, file system blocks

// Throws NewerFormat, and Error where it can't be read.
bool verifies(const std::filesystem::path& path) {
  try {
    verify_checkpoint(path);
    return true;
  } catch (const NewerFormat&) {
    throw;
  } catch (const Error& error) {
    if (error.code() != ExitCode::usage) {
      throw;  // can't be read now; that does not mean damaged
    }
    return false;
  }
}

std::uint64_t bytes_of(const CheckpointContent& content) {
  std::uint64_t bytes = content.state_json.size();
  for (const auto& [stem, tensors] : content.groups) {
    bytes += total_bytes(tensors);
  }
  return bytes;
}

void write_synced(const std::filesystem::path& path, std::string_view text) {
  const FileDescriptor file = create_file(path);
  write_all(file, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, path);
  sync_file(file, path);
}

// The name of the checkpoint that is marked; empty: none. Throws Error where the mark can't be read.
std::filesystem::path best_of(const std::filesystem::path& root) {
  const std::filesystem::path mark = root / kBestName;
  std::error_code error;
  const std::filesystem::path target = std::filesystem::read_symlink(mark, error);
  if (error == std::errc::invalid_argument) {  // not a link
    return follow_best(mark).filename();
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw FileError("can't read", mark, error.value());
  }
  return target.filename();
}

}  // namespace

void check_free_space(const std::filesystem::path& root, std::uint64_t tensor_bytes) {
  const std::uint64_t needed = kSlackBytes + tensor_bytes;
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(root, error);
  if (!error && space.capacity > 0 && space.available < needed) {  // 0: unknown
    throw Error(fmt::format("not enough space for a checkpoint in {}: {} MB needed, {} MB free", root.string(),
                            needed >> 20, space.available >> 20),
                "free some space, or lower --keep-checkpoints; earlier checkpoints are untouched");
  }
}

std::filesystem::path save_checkpoint(const Lease& lease, const std::filesystem::path& root,
                                      const CheckpointContent& content, const std::atomic<bool>* cancelled) {
  const std::filesystem::path made = unfinished_folder(lease.staging_folder(), content);
  const auto failure = [&](const Error& error) {
    std::error_code ignored;
    std::filesystem::remove_all(made, ignored);
    return Error(fmt::format("can't save a checkpoint in {}: {}", root.string(), error.what()),
                 error.hint().empty() ? "earlier checkpoints are untouched" : error.hint(), error.code(),
                 error.where());
  };
  try {
    create_durable_directories(root);
    remove_other_attempts(lease.staging_folder(), made);
    const std::filesystem::path path = checkpoint_path(root, content.step, content.evaluated);
    if (std::filesystem::exists(path)) {
      if (verifies(path)) {
        return path;
      }
      lease.remove(path);
    }
    check_free_space(root, bytes_of(content) + content.bytes_elsewhere);
    std::filesystem::create_directory(made);  // another writer may have made it
    Manifest manifest;
    manifest.step = content.step;
    manifest.evaluated = content.evaluated;
    for (const auto& [stem, unused] : content.groups) {
      manifest.files[stem + std::string(kGroupSuffix)] = write_group(made, stem, content);
    }
    write_synced(made / kStateName, content.state_json);
    manifest.files[kStateName] = {content.state_json.size(), sha256_of_text(content.state_json)};
    collect_parts(made, content.elsewhere, cancelled, manifest);
    write_synced(made / kManifestName, manifest_text(manifest, sha256_of_text));
    sync_directory(made);
    lease.put(made, path);
    return path;
  } catch (const Fenced&) {
    throw;
  } catch (const std::filesystem::filesystem_error& error) {
    lease.check();
    throw failure(Error(error.code().message(), hint_for_errno(error.code().value())));
  } catch (const NewerFormat&) {
    throw;
  } catch (const Error& error) {
    lease.check();
    throw failure(error);
  }
}

void mark_best(const Lease& lease, const std::filesystem::path& root, const std::filesystem::path& checkpoint) {
  lease.put_link(checkpoint.filename(), root / kBestName);
}

void retain_checkpoints(const Lease& lease, const std::filesystem::path& root, const RetentionOptions& options,
                        std::set<std::filesystem::path>* verified) {
  const auto is_whole = [&](const std::filesystem::path& checkpoint) {
    if (verified != nullptr && verified->count(checkpoint) > 0) {
      return true;
    }
    const bool whole = verifies(checkpoint);
    if (whole && verified != nullptr) {
      verified->insert(checkpoint);
    }
    return whole;
  };
  std::vector<std::filesystem::path> checkpoints = list_checkpoints(root);
  std::vector<std::filesystem::path> superseded;
  // A run that fell back to before damaged checkpoints saves earlier steps than theirs: if those counted, it would
  // remove the checkpoints that it can resume from.
  int whole = 0;
  std::optional<std::int64_t> evaluated;  // step whose evaluated checkpoint is whole
  while (!checkpoints.empty() && whole < options.keep_last) {
    const std::filesystem::path checkpoint = checkpoints.back();
    const CheckpointName name = *parse_checkpoint_name(checkpoint.filename().string());
    checkpoints.pop_back();
    if (!name.evaluated && evaluated == name.step) {
      superseded.push_back(checkpoint);
    } else if (is_whole(checkpoint)) {
      ++whole;
      evaluated = name.evaluated ? std::optional(name.step) : std::nullopt;
    }
  }
  checkpoints.insert(checkpoints.end(), superseded.begin(), superseded.end());
  const std::filesystem::path best = best_of(root);
  for (const auto& checkpoint : checkpoints) {
    if (checkpoint.filename() != best) {
      lease.remove(checkpoint);
      if (verified != nullptr) {
        verified->erase(checkpoint);
      }
    }
  }
}

}  // namespace maskedkd
