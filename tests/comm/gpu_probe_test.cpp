// Why a process has no GPU although there should be one. These tests need no GPU.
#include "maskedkd/comm/gpu_probe.hpp"

#include "support/temporary_directory.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>

namespace maskedkd {
namespace {

constexpr int kInsufficientDriver = 35, kNoDevice = 100;  // errors of cudaGetDeviceCount

GpuProbe node_with_gpu(int error, const std::string& message) {
  GpuProbe probe;
  probe.cuda_error = error;
  probe.cuda_message = message;
  probe.driver_cuda = 13000;
  probe.program_cuda = 13000;
  probe.node_has_gpu = true;
  return probe;
}

TEST(GpuProbe, AnOldDriverIsNamedWithBothVersions) {
  GpuProbe probe = node_with_gpu(kInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version");
  probe.driver_cuda = 12040;
  const std::string why = why_no_gpu(probe);
  EXPECT_NE(why.find("the driver serves CUDA up to 12.4, this program needs 13.0 (CUDA driver version is"),
            std::string::npos)
      << why;
}

TEST(GpuProbe, AContainerWithoutTheDriversLibraryIsNamed) {
  GpuProbe probe = node_with_gpu(kInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version");
  probe.driver_cuda = 0;
  EXPECT_NE(why_no_gpu(probe).find("libcuda.so.1"), std::string::npos);
}

TEST(GpuProbe, AJobWithoutGpusOnANodeThatHasSomeIsNamed) {
  const std::string why = why_no_gpu(node_with_gpu(kNoDevice, "no CUDA-capable device is detected"));
  EXPECT_NE(why.find("--gpus-per-node"), std::string::npos) << why;
}

TEST(GpuProbe, ABrokenGpuIsReportedWithCudasMessage) {
  const std::string why = why_no_gpu(node_with_gpu(999, "unknown error"));
  EXPECT_NE(why.find("unknown error"), std::string::npos) << why;
}

TEST(GpuProbe, AGpuIsExpectedWhereTheNodeHasOneThatTheUserDidNotHide) {
  const GpuProbe broken = node_with_gpu(999, "unknown error");
  EXPECT_TRUE(expects_gpu(broken));
  GpuProbe hidden = broken, elsewhere = broken, without_cuda = broken;
  hidden.visible_devices = "";
  elsewhere.node_has_gpu = false;
  without_cuda.program_cuda = 0;
  for (const GpuProbe& probe : {hidden, elsewhere, without_cuda}) {
    EXPECT_FALSE(expects_gpu(probe));
    EXPECT_NE(why_no_gpu(probe), "") << "for --device cuda";
  }
  EXPECT_NE(why_no_gpu(without_cuda).find("built without CUDA"), std::string::npos);
  GpuProbe usable = node_with_gpu(0, "");
  usable.num_devices = 1;
  EXPECT_EQ(why_no_gpu(usable), "");
}

TEST(GpuProbe, CudaVisibleDevicesIsQuotedWhereItNamesNoGpu) {
  for (const char* text : {"", "-1", "7", "GPU-00000000", "MIG-1", "NoDevFiles"}) {
    GpuProbe probe = node_with_gpu(kNoDevice, "no CUDA-capable device is detected");
    probe.visible_devices = text;
    EXPECT_NE(why_no_gpu(probe).find(fmt::format("CUDA_VISIBLE_DEVICES='{}'", text)), std::string::npos)
        << why_no_gpu(probe);
  }
}

// CUDA's rule: the entries before the first one that is no GPU count; -1 ends the list; of MIG slices one is used.
TEST(GpuProbe, TheFirstEntryThatIsNoGpuIsNamed) {
  const auto why = [](const std::string& visible, int num_devices) {
    GpuProbe probe = node_with_gpu(0, "");
    probe.visible_devices = visible;
    probe.num_devices = num_devices;
    return why_fewer_gpus(probe);
  };
  EXPECT_NE(why("0,7", 1).find("CUDA_VISIBLE_DEVICES='0,7': '7' is not a GPU"), std::string::npos) << why("0,7", 1);
  EXPECT_NE(why("GPU-1,GPU-2,GPU-3", 2).find("'GPU-3'"), std::string::npos);
  for (const auto& [visible, num_devices] : {std::pair("0,7", 2), {"3", 1}, {"0,-1,1", 1}, {"MIG-1,MIG-2", 1}}) {
    EXPECT_EQ(why(visible, num_devices), "") << visible;
  }
  EXPECT_EQ(why("7", 0), "") << "why_no_gpu() says it";
}

// The layout of NVIDIA's kernel module.
TEST(GpuProbe, GpusAreFoundInTheFilesOfTheKernelModule) {
  const testing::TemporaryDirectory root;
  EXPECT_FALSE(node_has_gpu(root.path()));
  std::filesystem::create_directories(root.path() / "dev");
  std::filesystem::create_directories(root.path() / "proc/driver/nvidia/gpus");
  for (const char* name : {"nvidiactl", "nvidia-uvm", "nvidia", "null"}) {
    std::ofstream(root.path() / "dev" / name);
  }
  EXPECT_FALSE(node_has_gpu(root.path()));
  std::filesystem::create_directory(root.path() / "proc/driver/nvidia/gpus/0000:4f:00.0");
  EXPECT_TRUE(node_has_gpu(root.path()));
  std::filesystem::remove_all(root.path() / "proc");
  EXPECT_FALSE(node_has_gpu(root.path()));
  std::ofstream(root.path() / "dev/nvidia3");
  EXPECT_TRUE(node_has_gpu(root.path()));
}

TEST(GpuProbe, TheUserMayHideGpus) {
  for (const char* text : {"", "-1", "-1,0"}) {
    EXPECT_TRUE(probe_gpus([text](const char*) { return text; }).hidden_by_user());
  }
  EXPECT_FALSE(probe_gpus([](const char*) { return static_cast<const char*>(nullptr); }).hidden_by_user());
  EXPECT_FALSE(probe_gpus([](const char*) { return "0,1"; }).hidden_by_user());
}

}  // namespace
}  // namespace maskedkd
