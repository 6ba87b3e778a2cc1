// NCCL between the processes of one machine, over shared memory. As with the real one, a call puts work on a stream and
// returns; who waits for the stream waits for the other ranks.
#include "capture.hpp"
#include "devices.hpp"
#include "faults.hpp"
#include "memory.hpp"
#include "settings.hpp"
#include "streams.hpp"
#include "trace.hpp"

#include <fcntl.h>
#include <nccl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kChunk = 256 << 10;
constexpr int kMostRanks = 64, kAsynchronous = 1000;

struct Box {  // for bytes from one rank to another; full where written > read
  std::atomic<std::uint64_t> written, read;
  char bytes[kChunk];
};
struct Shared {
  std::atomic<int> arrived;
  Box boxes[kMostRanks][kMostRanks];  // only the pages in use take memory
};

struct Transfer {
  bool sends;
  char* at;
  std::size_t size;
  int peer;
};

}  // namespace

struct ncclComm {
  int rank, size, device;
  Shared* shared;
  std::atomic<bool> aborted{false};
  std::atomic<int> error{0};
  std::uint64_t queued = 0, finished = 0;  // operations, which are executed in this order; with the scheduler's lock
};

namespace maskedkd::null_device {
namespace {

// Advances collective operations while the host does not wait, as a device would.
void advance_collectives() {
  pthread_setname_np(pthread_self(), "null_nccl");
  Scheduler& s = scheduler();
  for (;;) {
    {
      const std::lock_guard lock(s.mutex);
      if (s.num_collectives > 0) {
        while (s.advance_any()) {
          if (s.late && s.random() % 4 == 0) {
            break;
          }
        }
      }
    }
    usleep(100);
  }
}

// Moves what can be moved now. Whether anything was.
bool move(ncclComm& comm, std::vector<Transfer>& transfers) {
  bool moved = false;
  for (Transfer& t : transfers) {
    Box& box = t.sends ? comm.shared->boxes[comm.rank][t.peer] : comm.shared->boxes[t.peer][comm.rank];
    const bool full = box.written.load() != box.read.load();
    if (t.size == 0 || full == t.sends) {
      continue;
    }
    const std::size_t size = std::min(t.size, kChunk);
    if (t.sends) {
      std::memcpy(box.bytes, t.at, size);
      ++box.written;
    } else {
      std::memcpy(t.at, box.bytes, size);
      ++box.read;
    }
    t.at += size;
    t.size -= size;
    moved = true;
  }
  return moved;
}

// `begin` returns the transfers when the operation begins, `end` is called once they are done.
Work operation(ncclComm* comm, std::function<std::vector<Transfer>()> begin, std::function<void()> end) {
  return [comm, begin = std::move(begin), end = std::move(end)]() -> Step {
    struct Execution {
      std::uint64_t number;
      bool began = false;
      bool stalls = fault_at("stall") != 0;
      std::vector<Transfer> transfers;
    };
    auto run = std::make_shared<Execution>();
    run->number = comm->queued++;
    ++scheduler().num_collectives;
    return [comm, begin, end, run] {
      bool progress = false;
      if (!comm->aborted) {
        if (comm->finished != run->number || run->stalls) {
          return Progress::blocked;
        }
        if (!run->began) {
          run->transfers = begin();
          run->began = true;
        }
        progress = move(*comm, run->transfers);
        if (std::any_of(run->transfers.begin(), run->transfers.end(), [](const Transfer& t) { return t.size != 0; })) {
          return progress ? Progress::advanced : Progress::blocked;
        }
        end();
      }
      ++comm->finished;
      --scheduler().num_collectives;
      return Progress::finished;
    };
  };
}

thread_local int group_depth = 0;
thread_local std::vector<Transfer> group;
thread_local ncclComm* group_comm = nullptr;
thread_local cudaStream_t group_stream = nullptr;

ncclResult_t check(ncclComm* comm, const char* name, const void* memory, std::size_t bytes, cudaStream_t handle) {
  touch_context(name);
  const StreamState state = state_of(handle);
  int code = 0;
  if (!state.capturing) {
    code =
        record(Call::nccl, {.name = name, .size = bytes, .device = state.stream->device, .stream = state.stream.get()});
  }
  if (current_device() != comm->device || state.stream->device != comm->device || device_of(memory) != comm->device) {
    mistake("%s: communicator of device %d, stream of device %d, memory of device %d, current device %d", name,
            comm->device, state.stream->device, device_of(memory), current_device());
    return ncclInvalidArgument;
  }
  if (!is_allocated(memory, bytes)) {
    mistake("%s: %zu bytes outside of any allocation", name, bytes);
    return ncclInvalidArgument;
  }
  if (code >= kAsynchronous) {
    comm->error = code - kAsynchronous;
    return ncclSuccess;
  }
  return code >= ncclNumResults ? ncclUnhandledCudaError : static_cast<ncclResult_t>(code);
}

ncclResult_t start(
    ncclComm* comm, cudaStream_t handle, std::function<std::vector<Transfer>()> begin,
    std::function<void()> end = [] {}) {
  const cudaError_t code = submit(state_of(handle).stream, operation(comm, std::move(begin), std::move(end)));
  return code == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError;
}

ncclResult_t add_to_group(const Transfer& transfer, ncclComm* comm, cudaStream_t stream) {
  if (!group.empty() && (group_comm != comm || group_stream != stream)) {
    mistake("a group of NCCL on two communicators or streams");
    return ncclInvalidUsage;
  }
  ncclGroupStart();
  group.push_back(transfer);
  group_comm = comm;
  group_stream = stream;
  return ncclGroupEnd();
}

std::size_t bytes_of(std::size_t count, ncclDataType_t type) {
  switch (type) {
    case ncclFloat64:
    case ncclInt64:
    case ncclUint64:
      return count * 8;
    case ncclFloat32:
    case ncclInt32:
    case ncclUint32:
      return count * 4;
    case ncclFloat16:
    case ncclBfloat16:
      return count * 2;
    default:
      return count;
  }
}

}  // namespace
}  // namespace maskedkd::null_device

using namespace maskedkd::null_device;

NULL_DEVICE_EXPORT ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  *id = {};
  std::snprintf(id->internal, sizeof(id->internal), "/null_device-%d-%lld", getpid(), static_cast<long long>(now_ns()));
  return ncclSuccess;
}
NULL_DEVICE_EXPORT ncclResult_t ncclCommInitRank(ncclComm_t* out, int size, ncclUniqueId id, int rank) {
  touch_context("ncclCommInitRank");
  if (const int code = record(Call::nccl_init, {.device = current_device()})) {
    return code >= ncclNumResults ? ncclUnhandledCudaError : static_cast<ncclResult_t>(code);
  }
  if (size > kMostRanks) {
    mistake("%d ranks, at most %d can be", size, kMostRanks);
    return ncclInvalidArgument;
  }
  const int fd = shm_open(id.internal, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, sizeof(Shared)) != 0) {
    return ncclSystemError;
  }
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  close(fd);
  if (memory == MAP_FAILED) {
    return ncclSystemError;
  }
  auto* comm = new ncclComm{rank, size, current_device(), static_cast<Shared*>(memory)};
  ++comm->shared->arrived;
  while (comm->shared->arrived < size) {
    usleep(1000);
  }
  shm_unlink(id.internal);
  static std::once_flag started;
  std::call_once(started, [] { std::thread(advance_collectives).detach(); });
  *out = comm;
  return ncclSuccess;
}
// Neither frees the communicator, which other threads may still ask for its error.
NULL_DEVICE_EXPORT ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  wait_for_device(comm->device);
  return ncclSuccess;
}
// Returns before what waits for the operations has been woken; their results are then not complete.
NULL_DEVICE_EXPORT ncclResult_t ncclCommAbort(ncclComm_t comm) {
  set_results_garbage();
  comm->aborted = true;
  record(Call::nccl_abort, {.device = comm->device});  // a fault lets it take long after it has woken those that wait
  return ncclSuccess;
}
NULL_DEVICE_EXPORT ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  *error = static_cast<ncclResult_t>(comm->error.load());
  return ncclSuccess;
}
NULL_DEVICE_EXPORT const char* ncclGetLastError(ncclComm_t) { return "of the null device"; }
NULL_DEVICE_EXPORT const char* ncclGetErrorString(ncclResult_t code) {
  static constexpr const char* kTexts[] = {"no error",
                                           "unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
                                           "unhandled system error (run with NCCL_DEBUG=INFO for details)",
                                           "internal error - please report this issue to the NCCL developers",
                                           "invalid argument (run with NCCL_DEBUG=WARN for details)",
                                           "invalid usage (run with NCCL_DEBUG=WARN for details)",
                                           "remote process exited or there was a network error",
                                           "NCCL operation in progress"};
  return code >= 0 && code < static_cast<int>(std::size(kTexts)) ? kTexts[code] : "unknown result code";
}

NULL_DEVICE_EXPORT ncclResult_t ncclGroupStart() {
  ++group_depth;
  return ncclSuccess;
}
NULL_DEVICE_EXPORT ncclResult_t ncclGroupEnd() {
  if (--group_depth > 0 || group.empty()) {
    return ncclSuccess;
  }
  const ncclResult_t code = start(group_comm, group_stream, [all = std::move(group)] { return all; });
  group.clear();
  return code;
}
NULL_DEVICE_EXPORT ncclResult_t ncclSend(const void* from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                                         cudaStream_t stream) {
  const std::size_t bytes = bytes_of(count, type);
  const ncclResult_t code = check(comm, "ncclSend", from, bytes, stream);
  return code != ncclSuccess ? code : add_to_group({true, alias_of(from), bytes, peer}, comm, stream);
}
NULL_DEVICE_EXPORT ncclResult_t ncclRecv(void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                                         cudaStream_t stream) {
  const std::size_t bytes = bytes_of(count, type);
  const ncclResult_t code = check(comm, "ncclRecv", to, bytes, stream);
  return code != ncclSuccess ? code : add_to_group({false, alias_of(to), bytes, peer}, comm, stream);
}
NULL_DEVICE_EXPORT ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root,
                                              ncclComm_t comm, cudaStream_t stream) {
  const std::size_t bytes = bytes_of(count, type);
  if (const ncclResult_t code = check(comm, "ncclBroadcast", to, bytes, stream)) {
    return code;
  }
  std::vector<Transfer> all;
  for (int peer = 0; peer < comm->size; ++peer) {
    if (comm->rank == root && peer != root) {
      all.push_back({true, alias_of(from), bytes, peer});
    }
  }
  if (comm->rank != root) {
    all.push_back({false, alias_of(to), bytes, root});
  }
  return start(comm, stream, [all] { return all; });
}
NULL_DEVICE_EXPORT ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type,
                                              ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  const std::size_t bytes = bytes_of(count, type);
  if (const ncclResult_t code = check(comm, "ncclAllReduce", to, bytes, stream)) {
    return code;
  }
  if (type != ncclFloat32 || op != ncclSum || from != to) {
    mistake("ncclAllReduce: only sums of floats in place are implemented");
    return ncclInvalidUsage;
  }
  auto* own = reinterpret_cast<float*>(alias_of(to));
  auto others = std::make_shared<std::vector<std::vector<float>>>(static_cast<std::size_t>(comm->size));
  const auto begin = [=] {
    std::vector<Transfer> all;
    for (int peer = 0; peer < comm->size; ++peer) {
      std::vector<float>& values = (*others)[static_cast<std::size_t>(peer)];
      values.assign(own, own + count);
      if (peer != comm->rank) {
        all.push_back({true, reinterpret_cast<char*>(own), bytes, peer});
        all.push_back({false, reinterpret_cast<char*>(values.data()), bytes, peer});
      }
    }
    return all;
  };
  return start(comm, stream, begin, [=] {
    for (std::size_t i = 0; i < count; ++i) {  // in the order of the ranks
      float sum = 0;
      for (const std::vector<float>& values : *others) {
        sum += values[i];
      }
      own[i] = sum;
    }
  });
}
