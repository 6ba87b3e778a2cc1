#include "maskedkd/comm/gpu_failure.hpp"

#include <algorithm>
#include <string_view>

namespace maskedkd {
namespace {

constexpr int kMemoryAllocation = 2;

// A cudaError_t after which the process can't use its GPU, and CUDA's text for it.
struct GpuError {
  int code;
  std::string_view text;
};
constexpr GpuError kGpuErrors[] = {
    {46, "CUDA-capable device(s) is/are busy or unavailable"},
    {214, "uncorrectable ECC error encountered"},
    {220, "uncorrectable NVLink error detected during the execution"},
    {226, "Invalid access of peer GPU memory over nvlink or a hardware error"},
    {700, "an illegal memory access was encountered"},
    {702, "the launch timed out and was terminated"},
    {709, "context is destroyed"},
    {714, "hardware stack error"},
    {715, "an illegal instruction was encountered"},
    {716, "misaligned address"},
    {717, "operation not supported on global/shared address space"},
    {718, "invalid program counter"},
    {719, "unspecified launch failure"},
    {721, "tensor memory not completely freed"},
    {802, "system not yet initialized"},
    {805, "MPS client failed to connect to the MPS control daemon or the MPS server"},
    {806, "the remote procedural call between the MPS server and the MPS client failed"},
    {807, "MPS server is not ready to accept new MPS client requests"},
    {810, "the MPS client has been terminated by the server"},
    {909, "wait operation timed out"},
    {911, "an async error has occured in external entity outside of CUDA"},
    {999, "unknown error"},
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

DeviceFailure kind_of_cuda_error(int code) {
  if (code == 0) {
    return DeviceFailure::none;
  }
  if (code == kMemoryAllocation) {
    return DeviceFailure::memory;
  }
  const bool broken = std::any_of(std::begin(kGpuErrors), std::end(kGpuErrors),
                                  [code](const GpuError& error) { return error.code == code; });
  return broken ? DeviceFailure::gpu : DeviceFailure::mistake;
}

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
  const bool broken = std::any_of(std::begin(kGpuErrors), std::end(kGpuErrors),
                                  [text](const GpuError& error) { return text.starts_with(error.text); });
  return broken ? DeviceFailure::gpu : DeviceFailure::mistake;
}

}  // namespace maskedkd
