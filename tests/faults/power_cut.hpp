// Rebuilds a folder as it would be after a power cut from a log of all calls that changed it (file_faults.h). Only what
// POSIX guarantees is durable: a file's bytes once the file was synced, a name (made, renamed, removed) once its folder
// was.
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
  synced_only,  // files that were never synced are empty
  prefixes,     // of the writes since the last sync the first ones survive
  random        // changes of names and writes survive independently, in any order; a rename is atomic
};

class PowerCut {
 public:
  // Everything in `root` counts as durable. To be called before the log is begun.
  explicit PowerCut(const std::filesystem::path& root);

  // Creates `target`, which must not exist, with what is left if power fails after the first num_operations.
  void rebuild(const std::vector<Operation>& operations, std::size_t num_operations, Survival survival,
               std::uint64_t seed, const std::filesystem::path& target) const;

 private:
  friend class Disk;
  struct Node {
    enum class Kind { file, folder, link } kind = Kind::file;
    std::string content, synced;  // of a file; for a link, content is its target
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
  std::vector<Node> nodes_;                // the first node is the root
  std::map<std::uint64_t, int> by_inode_;  // current
};

}  // namespace maskedkd::testing
