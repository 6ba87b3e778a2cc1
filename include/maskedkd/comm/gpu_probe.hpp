// Finds out why a process sees no GPU: with a driver that is too old for this program's CUDA, or in a job that did not
// request GPUs, it would otherwise train on the CPUs of a GPU node, slowly and without a warning.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace maskedkd {

struct GpuProbe {
  int num_devices = 0;          // that CUDA lets this process use
  int cuda_error = 0;           // cudaError_t of the call that counts them
  std::string cuda_message;     // its description
  int driver_cuda = 0;          // newest CUDA that the driver supports, 12040 for 12.4; 0: no driver library found
  int program_cuda = 0;         // CUDA that this program was built with; 0: none
  bool node_has_gpu = false;    // according to NVIDIA's kernel module
  bool hidden_by_user = false;  // CUDA_VISIBLE_DEVICES is set to no device
};

// Pure. Why no GPU of this node can be used, in one line with advice. Empty where a GPU can be used, the node has none,
// the user has hidden them, or the program was built without CUDA.
std::string why_no_gpu(const GpuProbe& probe);

// Whether NVIDIA's kernel module lists a GPU in `root`/proc or `root`/dev.
bool node_has_gpu(const std::filesystem::path& root = "/");

GpuProbe probe_gpus(const std::function<const char*(const char*)>& environment);

}  // namespace maskedkd
