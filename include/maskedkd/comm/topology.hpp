// Assigns devices to ranks by local rank. Where that can't work, the error contains a table of what each rank sees.
#pragma once

#include "maskedkd/comm/gpu_probe.hpp"

#include <c10/core/Device.h>

#include <string>
#include <vector>

namespace maskedkd {

class MpiSession;

// What one rank sees. Gathered from all ranks, so that all reach the same decision and the same message.
struct RankPlace {
  int rank = 0;
  std::string host;
  int local_rank = 0;
  std::vector<Gpu> gpus;     // that this rank sees
  std::string why_none;      // why it sees none (comm/gpu_probe.hpp), else empty
  std::string why_fewer;     // why it sees fewer than it was given, else empty
  bool expects_gpu = false;  // its node has a GPU, so that without one it must not use CPUs
};

enum class DeviceChoice { automatic, cpu, cuda };
DeviceChoice parse_device_choice(const std::string& text);  // throws Error (usage)

// Pure. The device index of each rank (-1: CPU). cuda: a rank takes the only device that it sees, else that of its
// local rank; throws Error (usage) with the table where ranks would share a device or get none. automatic: cuda where
// every rank sees a device, cpu where no rank and no node has one, else throws Error.
std::vector<int> assign_devices(const std::vector<RankPlace>& places, DeviceChoice choice);

// Pure. What is not an error but makes a run slower or its results differ, a line each: GPUs of several kinds, ranks
// whose GPUs can't reach each other. devices: of assign_devices().
std::vector<std::string> gpu_warnings(const std::vector<RankPlace>& places, const std::vector<int>& devices);

// Collective. This rank's device; a CUDA device also becomes the current one. Rank 0 logs the warnings.
at::Device choose_device(const MpiSession& session, DeviceChoice choice);

// Collective. The names of the ranks' GPUs, each name once, sorted; empty on CPUs.
std::vector<std::string> gpu_names(const MpiSession& session, at::Device device);

// Pure. "2 x NVIDIA H100 80GB HBM3" or "3 GPUs (A, B)": one GPU for each rank.
std::string describe_gpus(const std::vector<std::string>& names, int ranks);

}  // namespace maskedkd
