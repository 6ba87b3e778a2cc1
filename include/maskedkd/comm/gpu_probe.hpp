// Finds out which GPUs a process sees, and why it sees none or fewer than it was given: with a driver that is too old
// for this program's CUDA, or in a job that did not request GPUs, it would otherwise train on the CPUs of a GPU node,
// slowly and without a warning.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace maskedkd {

// One GPU, or one slice of a GPU in MIG mode.
struct Gpu {
  std::string uuid;    // slices of one GPU have different ones
  std::string bus_id;  // on the PCI bus: the same for all slices of one GPU
  std::string name;    // "NVIDIA H100 80GB HBM3"
  std::int64_t memory_mib = 0;
  bool operator==(const Gpu&) const = default;
};

struct GpuProbe {
  int num_devices = 0;                         // that CUDA lets this process use
  int cuda_error = 0;                          // cudaError_t of the call that counts them
  std::string cuda_message;                    // its description
  int driver_cuda = 0;                         // newest CUDA of the driver, 12040 for 12.4; 0: no driver library found
  int program_cuda = 0;                        // CUDA that this program was built with; 0: none
  bool node_has_gpu = false;                   // according to NVIDIA's kernel module
  std::optional<std::string> visible_devices;  // CUDA_VISIBLE_DEVICES, if it is set

  bool hidden_by_user() const;  // CUDA_VISIBLE_DEVICES is set to no device
};

// Pure. Why this process can use no GPU, in one line with advice; empty where it can use one.
std::string why_no_gpu(const GpuProbe& probe);

// Pure. Whether a process that finds no GPU must not fall back to CPUs: the node has one, the user has not hidden it,
// and the program was built for it.
bool expects_gpu(const GpuProbe& probe);

// Pure. Which entry of CUDA_VISIBLE_DEVICES is no GPU of this node, where CUDA finds only those before it; else empty.
std::string why_fewer_gpus(const GpuProbe& probe);

// Whether NVIDIA's kernel module lists a GPU in `root`/proc or `root`/dev.
bool node_has_gpu(const std::filesystem::path& root = "/");

GpuProbe probe_gpus(const std::function<const char*(const char*)>& environment);

// The GPUs that CUDA lets this process use, in CUDA's order. Throws Error where one does not respond.
std::vector<Gpu> visible_gpus(const GpuProbe& probe);

}  // namespace maskedkd
