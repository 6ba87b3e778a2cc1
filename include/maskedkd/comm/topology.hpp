// Rank -> device, by local rank; refuses what can't work with a table of what was found.
#pragma once

#include <c10/core/Device.h>

#include <string>
#include <vector>

namespace maskedkd {

class MpiSession;

// What one rank sees; gathered from all, so that the decision and the message are the same everywhere.
struct RankPlace {
  int rank = 0;
  std::string host;
  int local_rank = 0;
  int num_devices = 0;                  // GPUs this rank sees
  std::vector<std::string> device_ids;  // UUID (or PCI id) of each of them
  std::string why_none;                 // where the node has GPUs that this rank can't use (comm/gpu_probe.hpp)
};

enum class DeviceChoice { automatic, cpu, cuda };
DeviceChoice parse_device_choice(const std::string& text);  // throws Error (usage)

// Pure: the device index of each rank (-1: CPU). With cuda: a rank that sees several devices takes the one of its local
// rank, one that sees a single device takes that; throws Error (usage) with the table of places where a host has fewer
// devices than ranks, or two ranks would share a device. automatic: cuda where every rank sees a device, cpu where none
// does and no node has any, else an Error.
std::vector<int> assign_devices(const std::vector<RankPlace>& places, DeviceChoice choice);

// Collective. This rank's device; on CUDA also makes it the current one.
at::Device choose_device(const MpiSession& session, DeviceChoice choice);

}  // namespace maskedkd
