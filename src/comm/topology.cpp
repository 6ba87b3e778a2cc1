#include "maskedkd/comm/topology.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/comm/mpi_session.hpp"

#include <sched.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#ifdef MASKEDKD_WITH_CUDA
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime.h>
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>

namespace maskedkd {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

// UUIDs, so that two ranks on one GPU are noticed even where each sees it as its device 0.
std::vector<std::string> visible_devices() {
  std::vector<std::string> ids;
#ifdef MASKEDKD_WITH_CUDA
  const auto count = c10::cuda::device_count();
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) {
      throw Error(fmt::format("CUDA device {} does not answer", device), "see nvidia-smi on that node");
    }
    std::string id;
    for (const char byte : properties.uuid.bytes) {
      id += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    }
    ids.push_back(id);
  }
#endif
  return ids;
}

std::string table(const std::vector<RankPlace>& places) {
  std::string text = "\n  rank  local rank  GPUs seen  host";
  for (const RankPlace& place : places) {
    text += fmt::format("\n  {:4}  {:10}  {:9}  {}", place.rank, place.local_rank, place.num_devices, place.host);
  }
  return text;
}

std::vector<RankPlace> gather_places(const MpiSession& session) {
  const std::vector<std::string> devices = visible_devices();
  const nlohmann::json mine = {{"host", host_name()}, {"local_rank", session.local_rank()}, {"devices", devices}};
  std::vector<RankPlace> places;
  for (const std::string& text : session.all_gather(mine.dump())) {
    const nlohmann::json other = nlohmann::json::parse(text);
    RankPlace place;
    place.rank = static_cast<int>(places.size());
    place.host = other["host"];
    place.local_rank = other["local_rank"];
    place.device_ids = other["devices"].get<std::vector<std::string>>();
    place.num_devices = static_cast<int>(place.device_ids.size());
    places.push_back(std::move(place));
  }
  return places;
}

// Cores that a cgroup's quota allows, or a large number where there is none.
double cgroup_cores() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0) {
    return std::stod(quota) / period;
  }
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double quota_us = 0;
  if (v1_quota >> quota_us && v1_period >> period && quota_us > 0 && period > 0) {
    return quota_us / period;
  }
  return 1e9;
}

int positive_environment(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::max(0, std::atoi(text)) : 0;
}

}  // namespace

DeviceChoice parse_device_choice(const std::string& text) {
  if (text == "auto") {
    return DeviceChoice::automatic;
  }
  if (text == "cpu") {
    return DeviceChoice::cpu;
  }
  if (text == "cuda") {
    return DeviceChoice::cuda;
  }
  throw usage_error(fmt::format("--device: '{}' is unknown", text), "choose from auto, cpu, cuda");
}

std::vector<int> assign_devices(const std::vector<RankPlace>& places, DeviceChoice choice) {
  const auto sees_device = [](const RankPlace& place) { return place.num_devices > 0; };
  const bool none = std::none_of(places.begin(), places.end(), sees_device);
  if (choice == DeviceChoice::cpu || (choice == DeviceChoice::automatic && none)) {
    return std::vector<int>(places.size(), -1);
  }
  if (!std::all_of(places.begin(), places.end(), sees_device)) {
    throw usage_error(fmt::format("{} see no GPU:{}", none ? "the ranks" : "some ranks", table(places)),
                      "ask for a GPU a rank (srun --gpus-per-task=1), or train with --device cpu");
  }
  std::vector<int> devices;
  std::map<std::pair<std::string, std::string>, int> taken;  // (host, device) -> rank
  for (const RankPlace& place : places) {
    // One visible device: the launcher has chosen. Several: the local rank chooses.
    const int device = place.num_devices == 1 ? 0 : place.local_rank;
    if (device >= place.num_devices) {
      throw usage_error(fmt::format("more ranks than GPUs on {}:{}", place.host, table(places)),
                        "start one rank a GPU");
    }
    const auto [entry, fresh] = taken.emplace(std::pair(place.host, place.device_ids.at(device)), place.rank);
    if (!fresh) {
      throw usage_error(fmt::format("ranks {} and {} would share one GPU of {}:{}", entry->second, place.rank,
                                    place.host, table(places)),
                        "start one rank a GPU");
    }
    devices.push_back(device);
  }
  return devices;
}

at::Device choose_device(const MpiSession& session, DeviceChoice choice) {
  if (choice == DeviceChoice::cpu) {
    return at::kCPU;
  }
  const int device = assign_devices(gather_places(session), choice).at(session.rank());
  if (device < 0) {
    return at::kCPU;
  }
#ifdef MASKEDKD_WITH_CUDA
  c10::cuda::set_device(static_cast<c10::DeviceIndex>(device));
#endif
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device));
}

namespace {

// The cores that this process may use, shared with the ranks that may use the same ones. Collective.
int cores_for_rank(const MpiSession& session) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  const int cores = sched_getaffinity(0, sizeof(mask), &mask) == 0 ? CPU_COUNT(&mask) : 1;
  // Ranks that are bound to cores of their own don't share them: all masks together hold more than one of them does.
  std::string bits;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    bits += CPU_ISSET(core, &mask) ? '1' : '0';
  }
  std::int64_t sharing = 0;
  const std::string key = host_name() + ' ' + bits;
  for (const std::string& other : session.all_gather(key)) {
    sharing += other == key;
  }
  const double quota = cgroup_cores() / session.local_size();
  const int own =
      static_cast<int>(std::min(static_cast<double>(cores) / static_cast<double>(sharing), std::floor(quota)));
  const int granted = positive_environment("SLURM_CPUS_PER_TASK");
  return std::max(1, granted > 0 ? std::min(own, granted) : own);
}

}  // namespace

int threads_for_rank(const MpiSession& session) {
  const int cores = cores_for_rank(session);
  const int asked = positive_environment("OMP_NUM_THREADS");
  return asked > 0 ? asked : cores;
}

int loader_threads_for_rank(const MpiSession& session, at::Device device) {
  const int cores = cores_for_rank(session);
  return device.is_cuda() ? std::max(1, cores - 1) : std::min(2, cores);
}

}  // namespace maskedkd
