// Assigns devices to ranks by local rank. Where that can't work, the error contains a table of what each rank sees.
#pragma once

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
  int num_devices = 0;                  // GPUs that this rank sees
  std::vector<std::string> device_ids;  // UUID (or PCI id) of each
  std::string why_none;                 // why this rank can't use the node's GPUs (comm/gpu_probe.hpp), else empty
};

enum class DeviceChoice { automatic, cpu, cuda };
DeviceChoice parse_device_choice(const std::string& text);  // throws Error (usage)

// Pure. The device index of each rank (-1: CPU). cuda: a rank takes the only device that it sees, else that of its
// local rank; throws Error (usage) with the table where ranks would share a device or get none. automatic: cuda where
// every rank sees a device, cpu where no rank and no node has one, else throws Error.
std::vector<int> assign_devices(const std::vector<RankPlace>& places, DeviceChoice choice);

// Collective. This rank's device; a CUDA device also becomes the current one.
at::Device choose_device(const MpiSession& session, DeviceChoice choice);

}  // namespace maskedkd
