#include "maskedkd/comm/topology.hpp"

#include "maskedkd/base/enum_names.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/host_name.hpp"
#include "maskedkd/comm/gpu_probe.hpp"
#include "maskedkd/comm/mpi_session.hpp"

#include <nlohmann/json.hpp>

#ifdef MASKEDKD_WITH_CUDA
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <map>

namespace maskedkd {
namespace {

// UUIDs reveal two ranks on one GPU even where each sees it as its device 0.
std::vector<std::string> visible_devices() {
  std::vector<std::string> ids;
#ifdef MASKEDKD_WITH_CUDA
  const auto count = c10::cuda::device_count();
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) {
      throw Error(fmt::format("CUDA device {} does not respond", device), "see nvidia-smi on that node");
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
  const nlohmann::json mine = {{"host", host_name()},
                               {"local_rank", session.local_rank()},
                               {"devices", devices},
                               {"why_none", why_no_gpu(probe_gpus(std::getenv))}};
  std::vector<RankPlace> places;
  for (const std::string& text : session.all_gather(mine.dump())) {
    const nlohmann::json other = nlohmann::json::parse(text);
    RankPlace place;
    place.rank = static_cast<int>(places.size());
    place.host = other["host"];
    place.local_rank = other["local_rank"];
    place.device_ids = other["devices"].get<std::vector<std::string>>();
    place.why_none = other["why_none"];
    place.num_devices = static_cast<int>(place.device_ids.size());
    places.push_back(std::move(place));
  }
  return places;
}

}  // namespace

DeviceChoice parse_device_choice(const std::string& text) {
  constexpr EnumNames<DeviceChoice, 3> kDevices = {
      {{"auto", DeviceChoice::automatic}, {"cpu", DeviceChoice::cpu}, {"cuda", DeviceChoice::cuda}}};
  return parse_name(kDevices, text, "--device");
}

std::vector<int> assign_devices(const std::vector<RankPlace>& places, DeviceChoice choice) {
  const auto sees_device = [](const RankPlace& place) { return place.num_devices > 0; };
  const bool none_sees_device = std::none_of(places.begin(), places.end(), sees_device);
  const auto unusable =
      std::find_if(places.begin(), places.end(), [](const RankPlace& place) { return !place.why_none.empty(); });
  if (choice != DeviceChoice::cpu && none_sees_device && unusable != places.end()) {
    throw usage_error(
        fmt::format("{} has a GPU that rank {} can't use: {}", unusable->host, unusable->rank, unusable->why_none),
        "or train with --device cpu");
  }
  if (choice == DeviceChoice::cpu || (choice == DeviceChoice::automatic && none_sees_device)) {
    return std::vector<int>(places.size(), -1);
  }
  if (!std::all_of(places.begin(), places.end(), sees_device)) {
    throw usage_error(fmt::format("{} see no GPU:{}", none_sees_device ? "the ranks" : "some ranks", table(places)),
                      "give a node's ranks all of its GPUs (srun --gpus-per-node=N), or train with --device cpu");
  }
  std::vector<int> devices;
  std::map<std::pair<std::string, std::string>, int> taken;  // (host, device) -> rank
  for (const RankPlace& place : places) {
    // A single visible device was chosen by the launcher; among several the local rank chooses.
    const int device = place.num_devices == 1 ? 0 : place.local_rank;
    if (device >= place.num_devices) {
      throw usage_error(fmt::format("more ranks than GPUs on {}:{}", place.host, table(places)),
                        "start one rank a GPU");
    }
    const auto [entry, is_new] = taken.emplace(std::pair(place.host, place.device_ids.at(device)), place.rank);
    if (!is_new) {
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
  char bus_id[32] = "no bus";
  static_cast<void>(cudaDeviceGetPCIBusId(bus_id, sizeof(bus_id), device));
  session.set_device_name(fmt::format("GPU {} ({}) of {}", device, bus_id, host_name()));
#endif
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device));
}

}  // namespace maskedkd
