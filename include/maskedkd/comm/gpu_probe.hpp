// Whether a process that sees no GPU should have seen one: a driver that is too old for this program's CUDA, or a job
// that forgot to ask for GPUs, would otherwise train on the CPUs of a GPU node, slowly and without a word.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace maskedkd {

// What can be found out about the GPUs of this node by a process.
struct GpuProbe {
  int num_devices = 0;        // that CUDA lets this process use
  int cuda_error = 0;         // cudaError_t of asking for that number
  std::string cuda_message;   // its text
  int driver_cuda = 0;        // newest CUDA that the driver serves, as 12040 for 12.4; 0: no driver's library is found
  int program_cuda = 0;       // that this program was built with; 0: none
  bool node_has_gpu = false;  // as NVIDIA's kernel module says
  bool hidden_by_user = false;  // CUDA_VISIBLE_DEVICES is set and names none
};

// Pure: why no GPU can be used on a node that has one, in one line with what to do; empty where there is nothing to
// complain of: a GPU is there, the node has none, the user has hidden them, or the program was built without CUDA.
std::string why_no_gpu(const GpuProbe& probe);

// Whether NVIDIA's kernel module has a GPU, asked of `root`/proc and `root`/dev.
bool node_has_gpu(const std::filesystem::path& root = "/");

GpuProbe probe_gpus(const std::function<const char*(const char*)>& environment);

}  // namespace maskedkd
