#include "maskedkd/comm/topology.hpp"

#include "maskedkd/base/enum_names.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/host_name.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/comm/mpi_session.hpp"

#include <nlohmann/json.hpp>

#ifdef MASKEDKD_WITH_CUDA
#include <c10/cuda/CUDAFunctions.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

namespace maskedkd {
namespace {

// What the first ranks of that host see, in one line.
std::string seen_gpus(const std::vector<RankPlace>& places, const std::string& host) {
  constexpr std::size_t kMost = 8;
  std::vector<std::string> each;
  for (const RankPlace& place : places) {
    if (place.host == host && each.size() <= kMost) {
      each.push_back(each.size() == kMost ? "..." : fmt::format("rank {} sees {}", place.rank, place.gpus.size()));
    }
  }
  return fmt::format("{}", fmt::join(each, ", "));
}

// UUIDs reveal two ranks on one GPU even where each sees it as its device 0.
std::vector<RankPlace> gather_places(const MpiSession& session) {
  const GpuProbe probe = probe_gpus(std::getenv);
  nlohmann::json gpus = nlohmann::json::array();
  for (const Gpu& gpu : visible_gpus(probe)) {
    gpus.push_back({gpu.uuid, gpu.bus_id, gpu.name, gpu.memory_mib});
  }
  const nlohmann::json mine = {
      {"host", host_name()},           {"local_rank", session.local_rank()}, {"gpus", gpus},
      {"why_none", why_no_gpu(probe)}, {"why_fewer", why_fewer_gpus(probe)}, {"expects_gpu", expects_gpu(probe)}};
  std::vector<RankPlace> places;
  for (const std::string& text : session.all_gather(mine.dump())) {
    const nlohmann::json other = nlohmann::json::parse(text);
    RankPlace place;
    place.rank = static_cast<int>(places.size());
    place.host = other["host"];
    place.local_rank = other["local_rank"];
    for (const nlohmann::json& gpu : other["gpus"]) {
      place.gpus.push_back({gpu[0], gpu[1], gpu[2], gpu[3]});
    }
    place.why_none = other["why_none"];
    place.why_fewer = other["why_fewer"];
    place.expects_gpu = other["expects_gpu"];
    places.push_back(std::move(place));
  }
  return places;
}

// Where no rank sees a GPU.
void refuse_without_gpu(const std::vector<RankPlace>& places, DeviceChoice choice) {
  constexpr const char* kOrCpu = "or train with --device cpu";
  const auto expecting =
      std::find_if(places.begin(), places.end(), [](const RankPlace& place) { return place.expects_gpu; });
  if (expecting != places.end()) {
    throw usage_error(
        fmt::format("{} has a GPU that rank {} can't use: {}", expecting->host, expecting->rank, expecting->why_none),
        kOrCpu);
  }
  if (choice == DeviceChoice::cuda) {
    throw usage_error(fmt::format("--device cuda, but the ranks see no GPU: {}", places.at(0).why_none), kOrCpu);
  }
}

// NCCL refuses two ranks on one GPU, as it identifies GPUs by their bus: two slices (MIG) of one GPU too.
[[noreturn]] void refuse_sharing(const std::vector<RankPlace>& places, const RankPlace& first, const Gpu& first_gpu,
                                 const RankPlace& second, const Gpu& second_gpu) {
  const bool slices = first_gpu.uuid != second_gpu.uuid;
  throw usage_error(fmt::format("ranks {} and {} would share one GPU of {}{} ({})", first.rank, second.rank,
                                second.host, slices ? ", in two MIG slices, between which NCCL can't communicate" : "",
                                seen_gpus(places, second.host)),
                    slices || second_gpu.name.find("MIG") != std::string::npos
                        ? "start one rank, or one a GPU: a process can use only one MIG slice, NCCL one of each GPU"
                        : "start one rank a GPU");
}

}  // namespace

DeviceChoice parse_device_choice(const std::string& text) {
  constexpr EnumNames<DeviceChoice, 3> kDevices = {
      {{"auto", DeviceChoice::automatic}, {"cpu", DeviceChoice::cpu}, {"cuda", DeviceChoice::cuda}}};
  return parse_name(kDevices, text, "--device");
}

std::vector<int> assign_devices(const std::vector<RankPlace>& places, DeviceChoice choice) {
  if (choice == DeviceChoice::cpu) {
    return std::vector<int>(places.size(), -1);
  }
  const auto sees_gpu = [](const RankPlace& place) { return !place.gpus.empty(); };
  if (std::none_of(places.begin(), places.end(), sees_gpu)) {
    refuse_without_gpu(places, choice);
    return std::vector<int>(places.size(), -1);
  }
  const auto blind = std::find_if_not(places.begin(), places.end(), sees_gpu);
  if (blind != places.end()) {
    throw usage_error(fmt::format("some ranks see no GPU, such as rank {} on {}: {} ({})", blind->rank, blind->host,
                                  blind->why_none, seen_gpus(places, blind->host)),
                      "give a node's ranks all of its GPUs (srun --gpus-per-node=N), or train with --device cpu");
  }
  std::vector<int> devices;
  std::map<std::pair<std::string, std::string>, std::size_t> taken;  // (host, bus) -> rank
  for (const RankPlace& place : places) {
    if (!place.why_fewer.empty()) {
      throw usage_error(fmt::format("{}: {}", place.host, place.why_fewer), "nvidia-smi -L lists the node's GPUs");
    }
    // A single visible device was chosen by the launcher; among several the local rank chooses.
    const int device = place.gpus.size() == 1 ? 0 : place.local_rank;
    if (device >= static_cast<int>(place.gpus.size())) {
      throw usage_error(fmt::format("more ranks than GPUs on {} ({})", place.host, seen_gpus(places, place.host)),
                        "start one rank a GPU");
    }
    const Gpu& gpu = place.gpus[static_cast<std::size_t>(device)];
    const auto [entry, is_new] = taken.emplace(std::pair(place.host, gpu.bus_id), devices.size());
    if (!is_new) {
      const std::size_t first = entry->second;
      refuse_sharing(places, places[first], places[first].gpus[static_cast<std::size_t>(devices[first])], place, gpu);
    }
    devices.push_back(device);
  }
  return devices;
}

std::vector<std::string> gpu_warnings(const std::vector<RankPlace>& places, const std::vector<int>& devices) {
  std::map<std::string, std::string> kinds;                // kind -> the first rank that has it
  std::map<std::string, std::set<std::string>> only_gpus;  // host -> the GPUs of ranks that see one
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (devices[i] < 0) {
      return {};
    }
    const Gpu& gpu = places[i].gpus[static_cast<std::size_t>(devices[i])];
    kinds.try_emplace(fmt::format("{} of {} MiB", gpu.name, gpu.memory_mib),
                      fmt::format("rank {} on {}", places[i].rank, places[i].host));
    if (places[i].gpus.size() == 1) {
      only_gpus[places[i].host].insert(gpu.bus_id);
    }
  }
  std::vector<std::string> warnings;
  if (kinds.size() > 1) {
    std::vector<std::string> each;
    for (const auto& [kind, rank] : kinds) {
      each.push_back(fmt::format("{} ({})", kind, rank));
    }
    warnings.push_back(
        fmt::format("the GPUs differ: {}; a step takes as long as on the slowest, and the result is "
                    "the same as on GPUs of one kind up to rounding, not bit for bit",
                    fmt::join(each, ", ")));
  }
  for (const auto& [host, gpus] : only_gpus) {
    if (gpus.size() > 1) {
      warnings.push_back(
          fmt::format("each rank of {} sees only its own GPU: where --gpus-per-task or --gpu-bind gave "
                      "it, NVLink is not used between them; request --gpus-per-node={} instead",
                      host, gpus.size()));
      break;
    }
  }
  return warnings;
}

at::Device choose_device(const MpiSession& session, DeviceChoice choice) {
  if (choice == DeviceChoice::cpu) {
    return at::kCPU;
  }
  const std::vector<RankPlace> places = gather_places(session);
  const std::vector<int> devices = assign_devices(places, choice);
  const int device = devices.at(static_cast<std::size_t>(session.rank()));
  if (device < 0) {
    return at::kCPU;
  }
  for (const std::string& warning : gpu_warnings(places, devices)) {
    log_on_rank_0(spdlog::level::warn, warning);
  }
#ifdef MASKEDKD_WITH_CUDA
  c10::cuda::set_device(static_cast<c10::DeviceIndex>(device));
#endif
  const RankPlace& place = places.at(static_cast<std::size_t>(session.rank()));
  session.set_device_name(
      fmt::format("GPU {} ({}) of {}", device, place.gpus.at(static_cast<std::size_t>(device)).bus_id, place.host));
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device));
}

std::vector<std::string> gpu_names(const MpiSession& session, at::Device device) {
  std::string name;
  if (device.is_cuda()) {
    name = visible_gpus(probe_gpus(std::getenv)).at(static_cast<std::size_t>(device.index())).name;
  }
  const std::vector<std::string> all = session.all_gather(name);
  std::set<std::string> names(all.begin(), all.end());
  names.erase("");
  return {names.begin(), names.end()};
}

std::string describe_gpus(const std::vector<std::string>& names, int ranks) {
  return names.size() == 1 ? fmt::format("{} x {}", ranks, names[0])
                           : fmt::format("{} GPUs ({})", ranks, fmt::join(names, ", "));
}

}  // namespace maskedkd
