// Example training states, each a function of its step, and the comparison with a loaded one.
#pragma once

#include "maskedkd/checkpoint/checkpoint.hpp"
#include "support/error_of.hpp"
#include "support/temporary_directory.hpp"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <optional>
#include <random>
#include <set>
#include <string>

namespace maskedkd::testing {

namespace fs = std::filesystem;

// All dtypes of a state, random bits (including NaNs), shapes that vary with the step. scale: the size.
inline CheckpointContent example_state(std::int64_t step, std::int64_t scale = 8) {
  std::mt19937 random(static_cast<unsigned>(step));
  const auto tensor = [&](at::ScalarType type, const std::vector<std::int64_t>& shape) {
    at::Tensor values = at::empty(shape, at::TensorOptions().dtype(type));
    auto* bytes = static_cast<std::uint8_t*>(values.mutable_data_ptr());
    for (std::size_t i = 0; i < values.nbytes(); ++i) {
      bytes[i] = static_cast<std::uint8_t>(random());
    }
    return values;
  };
  CheckpointContent content;
  content.step = step;
  const std::int64_t width = scale + step % 5;
  for (int block = 0; block < 3; ++block) {
    const std::string name = "blocks." + std::to_string(block) + ".weight";
    content.groups["model"].emplace_back(name, tensor(at::kFloat, {width, 3}));
    content.groups["ema"].emplace_back(name, tensor(at::kDouble, {width}));
    content.groups["optimizer"].emplace_back("m." + name, tensor(at::kFloat, {width, 3}));
    content.groups["optimizer"].emplace_back("v." + name, tensor(at::kBFloat16, {width}));
  }
  content.groups["optimizer"].emplace_back("steps", tensor(at::kLong, {}));
  content.state_json = R"({"step":)" + std::to_string(step) + R"(,"best_accuracy":71.25,"why":"größer"})";
  return content;
}

inline bool is_example_state(const LoadedCheckpoint& loaded, std::int64_t step, std::int64_t scale = 8) {
  const CheckpointContent expected = example_state(step, scale);
  if (loaded.step != step || loaded.state_json != expected.state_json ||
      loaded.groups.size() != expected.groups.size()) {
    return false;
  }
  for (const auto& [group, tensors] : expected.groups) {
    const auto found = loaded.groups.find(group);
    if (found == loaded.groups.end() || found->second.size() != tensors.size()) {
      return false;
    }
    for (const auto& [name, tensor] : tensors) {
      const auto value = found->second.find(name);
      if (value == found->second.end() || value->second.scalar_type() != tensor.scalar_type() ||
          value->second.sizes() != tensor.sizes() ||
          std::memcmp(value->second.const_data_ptr(), tensor.const_data_ptr(), tensor.nbytes()) != 0) {
        return false;
      }
    }
  }
  return true;
}

// A folder of checkpoints that this process may write into.
class RunFolder {
 public:
  RunFolder() : RunFolder("") {}
  explicit RunFolder(const fs::path& below) : path_(directory_.path() / below) { start_anew(); }
  const fs::path& path() const { return path_; }
  const Lease& lease() const { return *lease_; }
  // Takes the lease as the next start of the run does.
  void start_anew() {
    lease_.reset();
    lease_.emplace(path_, this_process("a test"));
  }

 private:
  TemporaryDirectory directory_;
  fs::path path_;
  std::optional<Lease> lease_;
};

// All names except the lease.
inline std::set<std::string> names_in(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.insert(entry.path().filename().string());
  }
  names.erase(".lease");
  return names;
}

// Whether a writer left unfinished files in the run's folder.
inline bool has_leftovers(const fs::path& root) {
  const std::set<std::string> names = names_in(root / ".lease");  // '.' comes before digits
  const std::string newest = names.empty() || names.rbegin()->front() == '.' ? "" : *names.rbegin();
  for (const std::string& name : names) {
    if (name.front() == '.') {  // left by a writer that ended before it renamed or removed it
      // The claim to a later generation is swept by its start; a power cut may have left a claim to an earlier one.
      if (newest.empty() || !name.starts_with(".new-") || name.substr(5, newest.size()) <= newest) {
        return true;
      }
      continue;
    }
    const std::set<std::string> inside = names_in(root / ".lease" / name);
    if (inside.size() > 2 || inside.count("owner.json") == 0) {
      return true;
    }
  }
  return false;
}

inline std::string read_bytes(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

inline void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

inline void nothing_is_damaged(const std::string& what) { ADD_FAILURE() << what; }

inline int count_from_environment(const char* name, int otherwise) {
  const char* given = std::getenv(name);
  return given != nullptr ? std::atoi(given) : otherwise;
}

}  // namespace maskedkd::testing
