// What every function that reads a shard through HDF5 checks and reports alike. Internal to this module.
#pragma once

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/hdf5.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/shards/shard.hpp"

#include <filesystem>

namespace maskedkd {

// Throws Error unless the dataset is contiguous and has this type and rank.
inline void check_dataset(const hdf5::DatasetInfo& info, const char* name, const char* type, std::size_t rank) {
  if (info.type != type || info.shape.size() != rank || !info.contiguous) {
    throw Error(fmt::format("/{} is not a contiguous {}-dimensional dataset of {}", name, rank, type));
  }
}

// The result of `read`, whose Error becomes one that names the shard and how it is repaired. A FileError stays as it
// is: where the system fails to read a shard, the shard may be intact.
template <typename Read>
auto name_damage_in(const std::filesystem::path& path, const Read& read) {
  try {
    return read();
  } catch (const FileError&) {
    throw;
  } catch (const OtherFormat&) {
    throw;
  } catch (const Error& error) {
    throw usage_error(fmt::format("{} is not a valid shard: {}", path.string(), error.what()), kRepairShardHint);
  }
}

}  // namespace maskedkd
