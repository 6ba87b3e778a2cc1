#include "maskedkd/comm/gpu_probe.hpp"

#include <fmt/format.h>

#ifdef MASKEDKD_WITH_CUDA
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime.h>
#endif

#include <algorithm>
#include <cctype>

namespace maskedkd {
namespace {

constexpr int kNoDevice = 100;  // cudaErrorNoDevice

std::string version(int cuda) { return fmt::format("{}.{}", cuda / 1000, cuda % 1000 / 10); }

bool is_gpu(const std::string& name) {  // not nvidiactl, nvidia-uvm, nvidia-caps
  constexpr std::string_view kStart = "nvidia";
  return name.size() > kStart.size() && name.starts_with(kStart) &&
         std::all_of(name.begin() + kStart.size(), name.end(),
                     [](char letter) { return std::isdigit(static_cast<unsigned char>(letter)) != 0; });
}

}  // namespace

std::string why_no_gpu(const GpuProbe& probe) {
  if (probe.num_devices > 0 || !probe.node_has_gpu || probe.hidden_by_user || probe.program_cuda == 0) {
    return "";
  }
  if (probe.driver_cuda == 0) {
    return "the driver's library libcuda.so.1 is not found; start the container with its GPUs (apptainer --nv, docker "
           "--gpus all)";
  }
  if (probe.driver_cuda < probe.program_cuda && probe.cuda_error != kNoDevice) {
    return fmt::format(
        "the driver serves CUDA up to {}, this program needs {} ({}); update the driver, or build with a "
        "LibTorch for that CUDA",
        version(probe.driver_cuda), version(probe.program_cuda), probe.cuda_message);
  }
  if (probe.cuda_error == kNoDevice) {
    return fmt::format("none is available to this process ({}); request GPUs for the job (--gpus-per-node)",
                       probe.cuda_message);
  }
  return fmt::format("{}; see nvidia-smi on that node",
                     probe.cuda_message.empty() ? "CUDA finds none" : probe.cuda_message);
}

bool node_has_gpu(const std::filesystem::path& root) {
  std::error_code missing;
  if (!std::filesystem::is_empty(root / "proc/driver/nvidia/gpus", missing) && !missing) {
    return true;
  }
  for (const auto& entry : std::filesystem::directory_iterator(root / "dev", missing)) {
    if (is_gpu(entry.path().filename().string())) {
      return true;
    }
  }
  return false;
}

GpuProbe probe_gpus(const std::function<const char*(const char*)>& environment) {
  GpuProbe probe;
  probe.node_has_gpu = node_has_gpu();
  const char* visible = environment("CUDA_VISIBLE_DEVICES");
  probe.hidden_by_user = visible != nullptr && (*visible == '\0' || std::string_view(visible) == "-1");
#ifdef MASKEDKD_WITH_CUDA
  probe.program_cuda = CUDART_VERSION;
  probe.num_devices = c10::cuda::device_count();
  if (probe.num_devices == 0) {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    probe.cuda_error = static_cast<int>(error);
    probe.cuda_message = error == cudaSuccess ? "" : cudaGetErrorString(error);
    static_cast<void>(cudaDriverGetVersion(&probe.driver_cuda));
    static_cast<void>(cudaGetLastError());
  }
#endif
  return probe;
}

}  // namespace maskedkd
