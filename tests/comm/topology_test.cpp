// Which rank gets which GPU, for the layouts of common launchers. These tests need no GPU.
#include "maskedkd/comm/topology.hpp"

#include "maskedkd/base/error.hpp"

#include <gtest/gtest.h>

#include <set>

namespace maskedkd {
namespace {

using Devices = std::vector<int>;

// One rank: its host, its local rank, and the GPUs that it sees.
RankPlace place(const std::string& host, int local_rank, const std::vector<std::string>& devices) {
  RankPlace result;
  result.host = host;
  result.local_rank = local_rank;
  for (const std::string& device : devices) {
    result.gpus.push_back({device, "bus of " + device, "H100", 81559});
  }
  return result;
}

std::vector<RankPlace> ranks(std::vector<RankPlace> places) {
  for (std::size_t rank = 0; rank < places.size(); ++rank) {
    places[rank].rank = static_cast<int>(rank);
  }
  return places;
}

// Every rank sees all GPUs of its node, as with mpiexec or srun --gpus-per-node.
std::vector<RankPlace> all_visible(int nodes, int ranks_per_node, int gpus_per_node) {
  std::vector<RankPlace> places;
  for (int node = 0; node < nodes; ++node) {
    std::vector<std::string> devices;
    for (int gpu = 0; gpu < gpus_per_node; ++gpu) {
      devices.push_back("GPU-" + std::to_string(node) + "-" + std::to_string(gpu));
    }
    for (int local = 0; local < ranks_per_node; ++local) {
      places.push_back(place("node" + std::to_string(node), local, devices));
    }
  }
  return ranks(places);
}

// The Error, or an empty one if none is thrown.
Error refusal(const std::vector<RankPlace>& places, DeviceChoice choice) {
  try {
    assign_devices(places, choice);
  } catch (const Error& error) {
    return error;
  }
  return Error("");
}

bool mentions(const Error& error, const std::string& text) {
  return std::string(error.what()).find(text) != std::string::npos;
}

TEST(AssignDevices, LocalRankChoosesWhereAllGpusAreVisible) {
  for (const int nodes : {1, 2, 5}) {
    for (const int gpus : {2, 4, 8}) {
      for (int per_node = 1; per_node <= gpus; ++per_node) {
        const auto places = all_visible(nodes, per_node, gpus);
        const Devices devices = assign_devices(places, DeviceChoice::cuda);
        std::set<std::string> used;
        for (std::size_t rank = 0; rank < places.size(); ++rank) {
          EXPECT_EQ(devices[rank], static_cast<int>(rank) % per_node);
          used.insert(places[rank].gpus[static_cast<std::size_t>(devices[rank])].uuid);
        }
        EXPECT_EQ(used.size(), places.size());
        EXPECT_EQ(devices, assign_devices(places, DeviceChoice::automatic));
      }
    }
  }
}

TEST(AssignDevices, MoreRanksThanGpusAreRefusedWithWhatTheySee) {
  for (const int gpus : {1, 2, 4, 7}) {
    for (const DeviceChoice choice : {DeviceChoice::cuda, DeviceChoice::automatic}) {
      const Error error = refusal(all_visible(2, gpus + 1, gpus), choice);
      EXPECT_EQ(error.code(), ExitCode::usage);
      // Device 0 of one GPU is taken to be the launcher's choice, of which two ranks have the same.
      EXPECT_TRUE(mentions(error, gpus == 1 ? "share one GPU of node0" : "more ranks than GPUs on node0"))
          << error.what();
      EXPECT_TRUE(mentions(error, fmt::format("(rank 0 sees {0}, rank 1 sees {0}", gpus))) << error.what();
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << "not one line";
      EXPECT_NE(error.hint().find("one rank a GPU"), std::string::npos) << error.hint();
    }
  }
}

// srun --gpus-per-task=1: CUDA_VISIBLE_DEVICES shows each rank one GPU, which is its number 0.
TEST(AssignDevices, OneVisibleGpuPerRankIsUsed) {
  const auto places = ranks({place("a", 0, {"A0"}), place("a", 1, {"A1"}), place("b", 0, {"B0"}), place("b", 1, {"B1"}),
                             place("b", 2, {"B2"})});
  EXPECT_EQ(assign_devices(places, DeviceChoice::cuda), (Devices{0, 0, 0, 0, 0}));
}

// CUDA_VISIBLE_DEVICES=0 exported before mpiexec -n 2: both ranks see the same GPU.
TEST(AssignDevices, TheSameSingleGpuForTwoRanksIsRefused) {
  const Error error = refusal(ranks({place("a", 0, {"A0"}), place("a", 1, {"A0"})}), DeviceChoice::cuda);
  EXPECT_EQ(error.code(), ExitCode::usage);
  EXPECT_TRUE(mentions(error, "ranks 0 and 1 would share one GPU of a (rank 0 sees 1, rank 1 sees 1)")) << error.what();
}

TEST(AssignDevices, EqualUuidsOnTwoHostsAreTwoGpus) {
  EXPECT_EQ(assign_devices(ranks({place("a", 0, {"X"}), place("b", 0, {"X"})}), DeviceChoice::cuda), (Devices{0, 0}));
}

TEST(AssignDevices, VisibleGpusMayBeListedInAnotherOrderForEachRank) {
  const auto crossed = ranks({place("a", 0, {"A0", "A1"}), place("a", 1, {"A0", "A1"})});
  EXPECT_EQ(assign_devices(crossed, DeviceChoice::cuda), (Devices{0, 1}));
  // Rank 1 sees the GPUs in reverse order: its number 1 is rank 0's number 0.
  const auto turned = ranks({place("a", 0, {"A0", "A1"}), place("a", 1, {"A1", "A0"})});
  EXPECT_TRUE(mentions(refusal(turned, DeviceChoice::cuda), "would share"));
}

TEST(AssignDevices, NodesMayHaveDifferentNumbersOfGpus) {
  const auto places = ranks({place("big", 0, {"0", "1", "2", "3"}), place("big", 1, {"0", "1", "2", "3"}),
                             place("big", 2, {"0", "1", "2", "3"}), place("small", 0, {"0"})});
  EXPECT_EQ(assign_devices(places, DeviceChoice::cuda), (Devices{0, 1, 2, 0}));
  auto crowded = places;
  crowded.push_back(place("small", 1, {"0"}));
  EXPECT_TRUE(mentions(refusal(ranks(crowded), DeviceChoice::cuda), "small"));
}

// Ranks are distributed round-robin over the nodes (srun --distribution=cyclic).
TEST(AssignDevices, TheLocalRankCountsForCyclicRanks) {
  const auto places = ranks({place("a", 0, {"A0", "A1"}), place("b", 0, {"B0", "B1"}), place("a", 1, {"A0", "A1"}),
                             place("b", 1, {"B0", "B1"})});
  EXPECT_EQ(assign_devices(places, DeviceChoice::cuda), (Devices{0, 0, 1, 1}));
}

TEST(AssignDevices, CpuUsesNoGpuEvenIfThereAreSome) {
  EXPECT_EQ(assign_devices(all_visible(1, 4, 2), DeviceChoice::cpu), (Devices{-1, -1, -1, -1}));
  EXPECT_EQ(assign_devices(all_visible(2, 3, 0), DeviceChoice::cpu), Devices(6, -1));
}

TEST(AssignDevices, AutomaticWithoutAnyGpuIsCpuAndCudaIsRefused) {
  auto places = all_visible(2, 3, 0);
  places[0].why_none = "this program was built without CUDA";
  EXPECT_EQ(assign_devices(places, DeviceChoice::automatic), Devices(6, -1));
  const Error error = refusal(places, DeviceChoice::cuda);
  EXPECT_EQ(error.code(), ExitCode::usage);
  EXPECT_STREQ(error.what(), "--device cuda, but the ranks see no GPU: this program was built without CUDA");
  EXPECT_NE(error.hint().find("--device cpu"), std::string::npos) << error.hint();
}

TEST(AssignDevices, AMixOfRanksWithAndWithoutGpuIsRefused) {
  const auto places = ranks({place("a", 0, {"A0"}), place("b", 0, {})});
  for (const DeviceChoice choice : {DeviceChoice::cuda, DeviceChoice::automatic}) {
    const Error error = refusal(places, choice);
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_TRUE(mentions(error, "some ranks see no GPU")) << error.what();
  }
}

TEST(ParseDeviceChoice, AcceptsThreeNames) {
  EXPECT_EQ(parse_device_choice("auto"), DeviceChoice::automatic);
  EXPECT_EQ(parse_device_choice("cpu"), DeviceChoice::cpu);
  EXPECT_EQ(parse_device_choice("cuda"), DeviceChoice::cuda);
  for (const char* text : {"", "gpu", "CPU", "cuda:0"}) {
    try {
      parse_device_choice(text);
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      EXPECT_NE(error.hint().find("auto, cpu, cuda"), std::string::npos);
    }
  }
}

// With a driver that is too old, or a job without GPUs, CPUs must not be used silently.
TEST(Topology, UnusableGpusAreAnError) {
  std::vector<RankPlace> places = all_visible(2, 1, 0);
  places[1].why_none = "the driver serves CUDA up to 12.4, this program needs 13.0";
  places[1].expects_gpu = true;
  for (const DeviceChoice choice : {DeviceChoice::automatic, DeviceChoice::cuda}) {
    const Error error = refusal(places, choice);
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_STREQ(error.what(),
                 "node1 has a GPU that rank 1 can't use: the driver serves CUDA up to 12.4, this program needs 13.0");
    EXPECT_NE(error.hint().find("--device cpu"), std::string::npos);
  }
  EXPECT_EQ(assign_devices(places, DeviceChoice::cpu), (Devices{-1, -1}));
}

// CUDA_VISIBLE_DEVICES=0,7 on a node of four: CUDA stops at the 7, and the second rank would share GPU 0.
TEST(AssignDevices, AListThatNamesAMissingGpuIsRefused) {
  auto places = ranks({place("a", 0, {"A0"}), place("a", 1, {"A0"})});
  for (RankPlace& each : places) {
    each.why_fewer = "CUDA_VISIBLE_DEVICES='0,7': '7' is not a GPU of this node";
  }
  EXPECT_STREQ(refusal(places, DeviceChoice::automatic).what(),
               "a: CUDA_VISIBLE_DEVICES='0,7': '7' is not a GPU of this node");
  EXPECT_EQ(assign_devices(places, DeviceChoice::cpu), (Devices{-1, -1}));
}

// As CUDA shows MIG slices: each has its UUID, and the bus of its GPU.
Gpu slice(const std::string& uuid, const std::string& gpu) {
  return {uuid, "bus of " + gpu, "NVIDIA H100 80GB HBM3 MIG 3g.40gb", 40320};
}

TEST(AssignDevices, TwoSlicesOfOneGpuAreRefusedAndOfTwoGpusAccepted) {
  auto places = ranks({place("a", 0, {}), place("a", 1, {})});
  places[0].gpus = {slice("MIG-1", "A0")};
  places[1].gpus = {slice("MIG-2", "A0")};
  const Error error = refusal(places, DeviceChoice::cuda);
  EXPECT_EQ(error.code(), ExitCode::usage);
  EXPECT_TRUE(mentions(error, "ranks 0 and 1 would share one GPU of a, in two MIG slices")) << error.what();
  EXPECT_NE(error.hint().find("start one rank"), std::string::npos) << error.hint();
  places[1].gpus = {slice("MIG-1", "A0")};  // CUDA_VISIBLE_DEVICES=MIG-1,MIG-2 for both
  EXPECT_NE(refusal(places, DeviceChoice::cuda).hint().find("one MIG slice"), std::string::npos);
  places[1].gpus = {slice("MIG-2", "A1")};
  EXPECT_EQ(assign_devices(places, DeviceChoice::cuda), (Devices{0, 0}));
}

TEST(GpuWarnings, GpusOfTwoKindsAreNamedInOneLine) {
  auto places = all_visible(2, 2, 2);
  EXPECT_TRUE(gpu_warnings(places, {0, 1, 0, 1}).empty());
  places[3].gpus[1].name = "A100";
  EXPECT_TRUE(gpu_warnings(places, {0, 1, 0, 0}).empty()) << "that GPU is not used";
  const std::vector<std::string> lines = gpu_warnings(places, {0, 1, 0, 1});
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_NE(lines[0].find("A100 of 81559 MiB (rank 3 on node1), H100 of 81559 MiB (rank 0 on node0)"),
            std::string::npos)
      << lines[0];
  places[3].gpus[1] = places[0].gpus[0];
  places[3].gpus[1].memory_mib = 40000;
  EXPECT_EQ(gpu_warnings(places, {0, 1, 0, 1}).size(), 1U) << "the same name, less memory";
}

TEST(GpuWarnings, RanksThatSeeOnlyTheirOwnGpuAreToldOfGpusPerNode) {
  const auto places =
      ranks({place("a", 0, {"A0"}), place("a", 1, {"A1"}), place("b", 0, {"B0"}), place("b", 1, {"B1"})});
  const std::vector<std::string> lines = gpu_warnings(places, {0, 0, 0, 0});
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_NE(lines[0].find("--gpus-per-node=2"), std::string::npos) << lines[0];
  EXPECT_TRUE(gpu_warnings(ranks({place("a", 0, {"A0"}), place("b", 0, {"B0"})}), {0, 0}).empty());
  EXPECT_TRUE(gpu_warnings(places, {-1, -1, -1, -1}).empty());
}

TEST(DescribeGpus, NamesAndCount) {
  EXPECT_EQ(describe_gpus({"NVIDIA H100"}, 2), "2 x NVIDIA H100");
  EXPECT_EQ(describe_gpus({"A", "B"}, 3), "3 GPUs (A, B)");
}

}  // namespace
}  // namespace maskedkd
