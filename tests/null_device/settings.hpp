// What the environment says of the null device: variables NULL_DEVICE_*, which README.md lists. Read once, when the
// first call arrives, as constructors of other libraries call CUDA before those of this one have run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace maskedkd::null_device {

constexpr int kMostDevices = 64;

struct Settings {
  int rank = 0;                                      // of MPI, or 0
  int num_devices = 1;                               // of the machine, before CUDA_VISIBLE_DEVICES
  std::size_t memory_bytes = std::size_t{80} << 30;  // of each device
  int driver_version = 13000;
  std::vector<std::string> names;             // of the devices; the last one stands for the others too
  std::optional<std::uint64_t> schedule;      // seed of a random schedule; without it, work is done at once
  std::size_t largest_copy_bytes = SIZE_MAX;  // a larger copy that involves the device is counted only
  std::size_t digest_bytes = 64 << 10;        // pinned copies to the device of at least so much have a digest
  bool backtraces = false;
  bool mend_scalars = true;     // what a small copy reads from the device is finite
  long long scalar_number = 0;  // this scalar that is read from the device, from 1, ...
  std::size_t scalar_index = 0;
  float scalar_value = 0;                          // ... has this value
  std::optional<float> garbage;                    // what scalars are after a communicator was aborted
  std::string log, trace, counts, digests, times;  // prefixes of files; the rank is appended
};

const Settings& settings();

// PREFIX.RANK
std::string file_of(const std::string& prefix);

}  // namespace maskedkd::null_device
