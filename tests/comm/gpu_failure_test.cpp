// What CUDA's errors mean for a run. These tests need no GPU.
#include "maskedkd/comm/gpu_failure.hpp"

#include <gtest/gtest.h>

#ifdef MASKEDKD_WITH_CUDA
#include <cuda_runtime.h>

#include <fstream>
#include <regex>
#include <sstream>
#endif

namespace maskedkd {
namespace {

TEST(GpuFailure, MessagesOfLibrariesAreClassified) {
  EXPECT_EQ(
      kind_of_failure("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasLtMatmul( handle )`\nframe #0"),
      DeviceFailure::gpu);
  EXPECT_EQ(kind_of_failure("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), DeviceFailure::gpu);
  EXPECT_EQ(kind_of_failure("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm`"),
            DeviceFailure::mistake);
  EXPECT_EQ(kind_of_failure("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            DeviceFailure::memory);
  EXPECT_EQ(kind_of_failure("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
            DeviceFailure::memory);
  EXPECT_EQ(kind_of_failure(
                "[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: can't allocate memory: you tried"),
            DeviceFailure::memory);
  EXPECT_EQ(kind_of_failure("expected a tensor of 2 dimensions"), DeviceFailure::none);
  EXPECT_EQ(kind_of_failure("CUDA out of memory. Tried to allocate 2.00 GiB."), DeviceFailure::memory);
}

#ifdef MASKEDKD_WITH_CUDA
// CUDA's comment in driver_types.h: "This leaves the process in an inconsistent state and any further CUDA work will
// return the same error."
TEST(GpuFailure, EveryErrorThatCudaCallsFinalRequeuesTheJob) {
  std::stringstream header;
  header << std::ifstream(MASKEDKD_CUDA_DRIVER_TYPES).rdbuf();
  const std::string text = header.str();
  const std::regex entry(R"(/\*\*((?:[^*]|\*(?!/))*)\*/\s*(cudaError\w+)\s*=\s*(\d+))");
  int num_final = 0;
  for (std::sregex_iterator found(text.begin(), text.end(), entry), end; found != end; ++found) {
    const std::string words = std::regex_replace((*found)[1].str(), std::regex(R"([\s*]+)"), " ");
    if (words.find("leaves the process in an inconsistent state") == std::string::npos) {
      continue;
    }
    ++num_final;
    const auto code = static_cast<cudaError_t>(std::stoi((*found)[3]));
    EXPECT_EQ(kind_of_failure(std::string("CUDA error: ") + cudaGetErrorString(code)), DeviceFailure::gpu)
        << (*found)[2];
  }
  EXPECT_GE(num_final, 8);
}

TEST(GpuFailure, MessagesOfCudaAreClassified) {
  for (const cudaError_t code :
       {cudaErrorECCUncorrectable, cudaErrorNvlinkUncorrectable, cudaErrorLaunchFailure, cudaErrorIllegalAddress,
        cudaErrorHardwareStackError, cudaErrorDevicesUnavailable, cudaErrorSystemNotReady, cudaErrorUnknown}) {
    EXPECT_EQ(kind_of_failure(std::string("CUDA error: ") + cudaGetErrorString(code) + "\nSearch for it"),
              DeviceFailure::gpu)
        << cudaGetErrorString(code);
  }
  for (const cudaError_t code : {cudaErrorInvalidValue, cudaErrorInvalidDevice, cudaErrorAssert,
                                 cudaErrorNoKernelImageForDevice, cudaErrorInvalidConfiguration}) {
    EXPECT_EQ(kind_of_failure(std::string("CUDA error: ") + cudaGetErrorString(code)), DeviceFailure::mistake)
        << cudaGetErrorString(code);
  }
}
#endif

}  // namespace
}  // namespace maskedkd
