// A folder as a disk would show it after a power cut: rebuilt from a log of all calls that changed it (file_faults.h).
// Nothing is taken for durable that POSIX does not promise: a file's bytes when that file was synced, a name (made,
// renamed, removed) when its folder was.
#pragma once

#include "faults/file_faults.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace maskedkd::testing {

struct Operation {
  std::uint64_t number = 0;  // of the call
  int call = FAULTS_MARK;
  std::uint32_t flags = 0;
  std::uint64_t inode = 0;
  std::uint64_t offset = 0;  // or the new size, or the mark
  std::string path, other, data;
};

std::vector<Operation> read_operations(const std::filesystem::path& log);

enum class Survival {
  synced_only,  // a file that was never synced is empty
  prefixes,     // of what was written since the last sync, the beginning
  random        // each change of names and each write on its own: a rename is atomic, nothing is in order
};

class PowerCut {
 public:
  // All that is in `root` now is durable. Before the log is begun.
  explicit PowerCut(const std::filesystem::path& root);

  // Makes `target`, which must not exist: what is there where power fails after the first num_operations of them.
  void rebuild(const std::vector<Operation>& operations, std::size_t num_operations, Survival survival,
               std::uint64_t seed, const std::filesystem::path& target) const;

 private:
  friend class Disk;
  struct Node {
    enum class Kind { file, folder, link } kind = Kind::file;
    std::string content, synced;  // of a file; content: where a link leads
    std::map<std::string, int> names, synced_names;
    struct Change {  // since the last sync
      std::uint64_t offset = 0;
      std::string data;
      bool cuts = false;  // the file ends at offset
    };
    std::vector<Change> changes;
  };

  int add(const std::filesystem::path& path);

  std::filesystem::path root_;
  std::vector<Node> nodes_;                // the first is the root
  std::map<std::uint64_t, int> by_inode_;  // as of now
};

}  // namespace maskedkd::testing
