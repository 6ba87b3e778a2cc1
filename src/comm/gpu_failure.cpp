#include "maskedkd/comm/gpu_failure.hpp"

#include <algorithm>
#include <string_view>

namespace maskedkd {
namespace {

// CUDA's texts for the errors after which the process can't use its GPU, with their cudaError_t.
constexpr std::string_view kCudaErrors[] = {
    "CUDA-capable device(s) is/are busy or unavailable",                            // 46
    "uncorrectable ECC error encountered",                                          // 214
    "uncorrectable NVLink error detected during the execution",                     // 220
    "Invalid access of peer GPU memory over nvlink or a hardware error",            // 226
    "an illegal memory access was encountered",                                     // 700
    "the launch timed out and was terminated",                                      // 702
    "context is destroyed",                                                         // 709
    "hardware stack error",                                                         // 714
    "an illegal instruction was encountered",                                       // 715
    "misaligned address",                                                           // 716
    "operation not supported on global/shared address space",                       // 717
    "invalid program counter",                                                      // 718
    "unspecified launch failure",                                                   // 719
    "tensor memory not completely freed",                                           // 721
    "system not yet initialized",                                                   // 802
    "MPS client failed to connect to the MPS control daemon or the MPS server",     // 805
    "the remote procedural call between the MPS server and the MPS client failed",  // 806
    "MPS server is not ready to accept new MPS client requests",                    // 807
    "the MPS client has been terminated by the server",                             // 810
    "wait operation timed out",                                                     // 909
    "an async error has occured in external entity outside of CUDA",                // 911
    "unknown error",                                                                // 999
};

// Errors of the libraries, which have no cudaError_t.
constexpr std::string_view kGpuTexts[] = {"CUBLAS_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_INTERNAL_ERROR",
                                          "CUBLAS_STATUS_MAPPING_ERROR",    "CUBLAS_STATUS_NOT_INITIALIZED",
                                          "CUDNN_STATUS_EXECUTION_FAILED",  "CUDNN_STATUS_INTERNAL_ERROR"};
constexpr std::string_view kMemoryTexts[] = {"CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
                                             "CUDA error: out of memory", "CUDA out of memory",
                                             "DefaultCPUAllocator: "};

bool names_one_of(std::string_view text, const auto& names) {
  return std::any_of(std::begin(names), std::end(names),
                     [&](std::string_view name) { return text.find(name) != std::string_view::npos; });
}

}  // namespace

DeviceFailure kind_of_failure(std::string_view message) {
  constexpr std::string_view kCuda = "CUDA error: ";
  const std::string_view line = message.substr(0, message.find('\n'));
  if (names_one_of(line, kMemoryTexts)) {
    return DeviceFailure::memory;
  }
  if (names_one_of(line, kGpuTexts)) {
    return DeviceFailure::gpu;
  }
  const std::size_t start = line.find(kCuda);
  if (start == std::string_view::npos) {
    return DeviceFailure::none;
  }
  const std::string_view text = line.substr(start + kCuda.size());
  const bool broken = std::any_of(std::begin(kCudaErrors), std::end(kCudaErrors),
                                  [text](std::string_view error) { return text.starts_with(error); });
  return broken ? DeviceFailure::gpu : DeviceFailure::mistake;
}

}  // namespace maskedkd
