// libnvidia-ml.so.1: LibTorch asks it which processes use the device when memory runs out, and for links between
// devices.
#define NULL_DEVICE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {
constexpr int kNotSupported = 3;
}

NULL_DEVICE_EXPORT int nvmlInit_v2() { return 0; }
NULL_DEVICE_EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char* id, const void** device) {
  *device = id;
  return 0;
}
NULL_DEVICE_EXPORT int nvmlDeviceGetComputeRunningProcesses(void*, unsigned* count, void*) {
  *count = 0;
  return 0;
}
NULL_DEVICE_EXPORT int nvmlSystemGetCudaDriverVersion_v2(int* version) {
  *version = 13000;
  return 0;
}
NULL_DEVICE_EXPORT int nvmlDeviceGetNvLinkRemoteDeviceType() { return kNotSupported; }
NULL_DEVICE_EXPORT int nvmlDeviceGetNvLinkRemotePciInfo_v2() { return kNotSupported; }
NULL_DEVICE_EXPORT int nvmlDeviceGetGpuFabricInfoV() { return kNotSupported; }
