// cuDNN's graph API, as far as attention uses it: descriptors hold nothing, and each execution is a counted product.
#include "devices.hpp"
#include "launches.hpp"
#include "trace.hpp"

#include <cudnn.h>

#include <cstring>

namespace maskedkd::null_device {
namespace {

struct Handle {
  int device;
  cudaStream_t stream;
};

Handle* handle_of(cudnnHandle_t handle) { return reinterpret_cast<Handle*>(handle); }

struct Descriptor {
  cudnnBackendDescriptorType_t type;
};

}  // namespace
}  // namespace maskedkd::null_device

using namespace maskedkd::null_device;

NULL_DEVICE_EXPORT cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  touch_context("cudnnCreate");
  *handle = reinterpret_cast<cudnnHandle_t>(new Handle{current_device(), nullptr});
  return CUDNN_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  handle_of(handle)->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* stream) {
  *stream = handle_of(handle)->stream;
  return CUDNN_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                                              cudnnBackendDescriptor_t* descriptor) {
  *descriptor = reinterpret_cast<cudnnBackendDescriptor_t>(new Descriptor{type});
  return CUDNN_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  delete reinterpret_cast<Descriptor*>(descriptor);
  return CUDNN_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  if (reinterpret_cast<Descriptor*>(descriptor)->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
    record(Call::heuristic, {.name = "a plan of cuDNN"});
  }
  return CUDNN_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t, cudnnBackendAttributeName_t,
                                                          cudnnBackendAttributeType_t, int64_t, const void*) {
  return CUDNN_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const,
                                                          cudnnBackendAttributeName_t name,
                                                          cudnnBackendAttributeType_t type, int64_t asked,
                                                          int64_t* count, void* array) {
  int64_t found = 0;
  switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
    case CUDNN_ATTR_ENGINECFG_ENGINE:
    case CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG:
      found = 1;
      break;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
    case CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE:
    case CUDNN_ATTR_ENGINECFG_SHARED_MEMORY_USED:
      found = 1;
      if (asked > 0 && array != nullptr) {
        std::memset(array, 0, type == CUDNN_TYPE_INT32 ? 4 : 8);
      }
      break;
    default:
      break;
  }
  if (count != nullptr) {
    *count = found;
  }
  return CUDNN_STATUS_SUCCESS;
}
NULL_DEVICE_EXPORT cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t,
                                                     cudnnBackendDescriptor_t) {
  return launch(Call::product, "cudnnBackendExecute", handle_of(handle)->stream, handle_of(handle)->device) != 0
             ? CUDNN_STATUS_EXECUTION_FAILED
             : CUDNN_STATUS_SUCCESS;
}
