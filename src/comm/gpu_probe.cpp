#include "maskedkd/comm/gpu_probe.hpp"

#include "maskedkd/base/error.hpp"

#ifdef MASKEDKD_WITH_CUDA
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

std::vector<std::string> entries(const std::string& list) {
  std::vector<std::string> result;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    result.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return result;
}

bool is_mig(const std::string& entry) { return entry.starts_with("MIG-"); }

}  // namespace

bool GpuProbe::hidden_by_user() const {
  return visible_devices && (visible_devices->empty() || visible_devices->starts_with("-1"));
}

std::string why_no_gpu(const GpuProbe& probe) {
  if (probe.num_devices > 0) {
    return "";
  }
  if (probe.program_cuda == 0) {
    return "this program was built without CUDA; build it where CUDA is found (env/build.sh prints whether)";
  }
  if (probe.hidden_by_user()) {
    return fmt::format("CUDA_VISIBLE_DEVICES='{}' hides every GPU; unset it, or name GPUs in it",
                       *probe.visible_devices);
  }
  if (probe.driver_cuda == 0) {
    return probe.node_has_gpu ? "the driver's library libcuda.so.1 is not found; start the container with its GPUs "
                                "(apptainer --nv, docker --gpus all)"
                              : "no NVIDIA driver is found; request GPUs for the job (--gpus-per-node)";
  }
  if (probe.driver_cuda < probe.program_cuda && probe.cuda_error != kNoDevice) {
    return fmt::format(
        "the driver serves CUDA up to {}, this program needs {} ({}); update the driver, or build with a "
        "LibTorch for that CUDA",
        version(probe.driver_cuda), version(probe.program_cuda), probe.cuda_message);
  }
  if (probe.cuda_error == kNoDevice) {
    return probe.visible_devices
               ? fmt::format(
                     "CUDA_VISIBLE_DEVICES='{}' names no GPU that this process may use ({}); nvidia-smi -L "
                     "lists them; or request GPUs for the job (--gpus-per-node)",
                     *probe.visible_devices, probe.cuda_message)
               : fmt::format("none is available to this process ({}); request GPUs for the job (--gpus-per-node)",
                             probe.cuda_message);
  }
  return fmt::format("{}; see nvidia-smi on that node",
                     probe.cuda_message.empty() ? "CUDA finds none" : probe.cuda_message);
}

bool expects_gpu(const GpuProbe& probe) {
  return probe.node_has_gpu && !probe.hidden_by_user() && probe.program_cuda != 0;
}

// CUDA uses the entries before the first one that is no GPU, and of MIG slices only one (NVIDIA's MIG user guide,
// "CUDA Device Enumeration").
std::string why_fewer_gpus(const GpuProbe& probe) {
  if (!probe.visible_devices || probe.num_devices == 0) {
    return "";
  }
  const std::vector<std::string> listed = entries(*probe.visible_devices);
  const auto found = static_cast<std::size_t>(probe.num_devices);
  if (found >= listed.size() || is_mig(listed[0]) || listed[found].starts_with("-1")) {
    return "";
  }
  return fmt::format("CUDA_VISIBLE_DEVICES='{}': '{}' is not a GPU of this node, or stands there twice",
                     *probe.visible_devices, listed[found]);
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

// Not c10::cuda::device_count(), which adds a warning of LibTorch's to what is said here in one line.
GpuProbe probe_gpus(const std::function<const char*(const char*)>& environment) {
  GpuProbe probe;
  probe.node_has_gpu = node_has_gpu();
  if (const char* visible = environment("CUDA_VISIBLE_DEVICES")) {
    probe.visible_devices = visible;
  }
#ifdef MASKEDKD_WITH_CUDA
  probe.program_cuda = CUDART_VERSION;
  const cudaError_t error = cudaGetDeviceCount(&probe.num_devices);
  probe.cuda_error = static_cast<int>(error);
  if (error != cudaSuccess) {
    probe.num_devices = 0;
    probe.cuda_message = cudaGetErrorString(error);
  }
  static_cast<void>(cudaDriverGetVersion(&probe.driver_cuda));
  static_cast<void>(cudaGetLastError());
#endif
  return probe;
}

std::vector<Gpu> visible_gpus(const GpuProbe& probe) {
  std::vector<Gpu> gpus;
  for (int device = 0; device < probe.num_devices; ++device) {
#ifdef MASKEDKD_WITH_CUDA
    cudaDeviceProp properties{};
    char bus_id[32] = "";
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess ||
        cudaDeviceGetPCIBusId(bus_id, sizeof(bus_id), device) != cudaSuccess) {
      throw Error(fmt::format("CUDA device {} does not respond", device), "see nvidia-smi on that node");
    }
    Gpu gpu;
    for (const char byte : properties.uuid.bytes) {
      gpu.uuid += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    }
    gpu.bus_id = bus_id;
    gpu.name = properties.name;
    gpu.memory_mib = static_cast<std::int64_t>(properties.totalGlobalMem >> 20);
    gpus.push_back(std::move(gpu));
#endif
  }
  return gpus;
}

}  // namespace maskedkd
