// cuBLAS and cuBLASLt: each product is a counted launch.
#include "devices.hpp"
#include "launches.hpp"
#include "trace.hpp"

#include <cublasLt.h>
#include <cublas_v2.h>

#include <cstdlib>
#include <cstring>

namespace maskedkd::null_device {
namespace {

struct Handle {
  int device;
  cudaStream_t stream;
  cublasMath_t mode;
  cublasPointerMode_t pointers;
};

Handle* handle_of(cublasHandle_t handle) { return reinterpret_cast<Handle*>(handle); }

cublasStatus_t product(const char* name, int device, cudaStream_t stream, const void* written) {
  if (std::getenv("CUBLAS_WORKSPACE_CONFIG") != nullptr) {
    record(Call::config_product, {.name = name});
  }
  return launch(Call::product, name, stream, device, written) != 0 ? CUBLAS_STATUS_EXECUTION_FAILED
                                                                   : CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t product(const char* name, cublasHandle_t handle, const void* written) {
  return product(name, handle_of(handle)->device, handle_of(handle)->stream, written);
}

}  // namespace
}  // namespace maskedkd::null_device

using namespace maskedkd::null_device;

NULL_DEVICE_EXPORT cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  touch_context("cublasCreate");
  if (const int code = record(Call::cublas_create, {.device = current_device()})) {
    return code < CUBLAS_STATUS_LICENSE_ERROR ? static_cast<cublasStatus_t>(code) : CUBLAS_STATUS_NOT_INITIALIZED;
  }
  *handle = reinterpret_cast<cublasHandle_t>(
      new Handle{current_device(), nullptr, CUBLAS_DEFAULT_MATH, CUBLAS_POINTER_MODE_HOST});
  return CUBLAS_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  delete handle_of(handle);
  return CUBLAS_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  handle_of(handle)->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void*, size_t) { return CUBLAS_STATUS_SUCCESS; }
NULL_DEVICE_EXPORT cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  handle_of(handle)->mode = mode;
  return CUBLAS_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cublasStatus_t cublasGetMathMode(cublasHandle_t handle, cublasMath_t* mode) {
  *mode = handle_of(handle)->mode;
  return CUBLAS_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t mode) {
  handle_of(handle)->pointers = mode;
  return CUBLAS_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cublasStatus_t cublasGetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t* mode) {
  *mode = handle_of(handle)->pointers;
  return CUBLAS_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cublasStatus_t cublasSgemm_v2(cublasHandle_t h, cublasOperation_t, cublasOperation_t, int, int, int,
                                                 const float*, const float*, int, const float*, int, const float*,
                                                 float* c, int) {
  return product("cublasSgemm", h, c);
}
NULL_DEVICE_EXPORT cublasStatus_t cublasDgemm_v2(cublasHandle_t h, cublasOperation_t, cublasOperation_t, int, int, int,
                                                 const double*, const double*, int, const double*, int, const double*,
                                                 double* c, int) {
  return product("cublasDgemm", h, c);
}
NULL_DEVICE_EXPORT cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t h, cublasOperation_t, cublasOperation_t, int,
                                                            int, int, const float*, const float*, int, long long int,
                                                            const float*, int, long long int, const float*, float* c,
                                                            int, long long int, int) {
  return product("cublasSgemmStridedBatched", h, c);
}
NULL_DEVICE_EXPORT cublasStatus_t cublasGemmEx(cublasHandle_t h, cublasOperation_t, cublasOperation_t, int, int, int,
                                               const void*, const void*, cudaDataType, int, const void*, cudaDataType,
                                               int, const void*, void* c, cudaDataType, int, cublasComputeType_t,
                                               cublasGemmAlgo_t) {
  return product("cublasGemmEx", h, c);
}
NULL_DEVICE_EXPORT cublasStatus_t cublasSgemmEx(cublasHandle_t h, cublasOperation_t, cublasOperation_t, int, int, int,
                                                const float*, const void*, cudaDataType, int, const void*, cudaDataType,
                                                int, const float*, void* c, cudaDataType, int) {
  return product("cublasSgemmEx", h, c);
}
NULL_DEVICE_EXPORT cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t h, cublasOperation_t, cublasOperation_t,
                                                             int, int, int, const void*, const void*, cudaDataType, int,
                                                             long long int, const void*, cudaDataType, int,
                                                             long long int, const void*, void* c, cudaDataType, int,
                                                             long long int, int, cublasComputeType_t,
                                                             cublasGemmAlgo_t) {
  return product("cublasGemmStridedBatchedEx", h, c);
}
NULL_DEVICE_EXPORT cublasStatus_t cublasSgemv_v2(cublasHandle_t h, cublasOperation_t, int, int, const float*,
                                                 const float*, int, const float*, int, const float*, float* y, int) {
  return product("cublasSgemv", h, y);
}
NULL_DEVICE_EXPORT cublasStatus_t cublasSdot_v2(cublasHandle_t h, int, const float*, int, const float*, int, float*) {
  return product("cublasSdot", h, nullptr);
}

// Descriptors of cuBLASLt are opaque: zeroed bytes.
NULL_DEVICE_EXPORT size_t cublasLtGetVersion() { return CUBLAS_VERSION; }

#define NULL_DESCRIPTOR(create, destroy, type, ...)                                       \
  NULL_DEVICE_EXPORT cublasStatus_t create(type* descriptor __VA_OPT__(, ) __VA_ARGS__) { \
    *descriptor = static_cast<type>(std::calloc(1, 512));                                 \
    return CUBLAS_STATUS_SUCCESS;                                                         \
  }                                                                                       \
  NULL_DEVICE_EXPORT cublasStatus_t destroy(type descriptor) {                            \
    std::free(const_cast<void*>(static_cast<const void*>(descriptor)));                   \
    return CUBLAS_STATUS_SUCCESS;                                                         \
  }
NULL_DESCRIPTOR(cublasLtMatmulDescCreate, cublasLtMatmulDescDestroy, cublasLtMatmulDesc_t, cublasComputeType_t,
                cudaDataType_t)
NULL_DESCRIPTOR(cublasLtMatrixLayoutCreate, cublasLtMatrixLayoutDestroy, cublasLtMatrixLayout_t, cudaDataType, uint64_t,
                uint64_t, int64_t)
NULL_DESCRIPTOR(cublasLtMatmulPreferenceCreate, cublasLtMatmulPreferenceDestroy, cublasLtMatmulPreference_t)

NULL_DEVICE_EXPORT cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t,
                                                                 const void*, size_t) {
  return CUBLAS_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t,
                                                                   cublasLtMatrixLayoutAttribute_t, const void*,
                                                                   size_t) {
  return CUBLAS_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                                       cublasLtMatmulPreferenceAttributes_t,
                                                                       const void*, size_t) {
  return CUBLAS_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t,
                                                                 cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                                                 cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                                                 cublasLtMatmulPreference_t, int asked,
                                                                 cublasLtMatmulHeuristicResult_t results[],
                                                                 int* found) {
  record(Call::heuristic);
  *found = asked > 0 ? 1 : 0;
  if (asked > 0) {
    results[0] = {};
    results[0].state = CUBLAS_STATUS_SUCCESS;
    results[0].wavesCount = 1;
  }
  return CUBLAS_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t, const void*,
                                                 const void*, cublasLtMatrixLayout_t, const void*,
                                                 cublasLtMatrixLayout_t, const void*, const void*,
                                                 cublasLtMatrixLayout_t, void* d, cublasLtMatrixLayout_t,
                                                 const cublasLtMatmulAlgo_t*, void*, size_t, cudaStream_t stream) {
  return product("cublasLtMatmul", reinterpret_cast<Handle*>(handle)->device, stream, d);
}
