#include "backends.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/comm/mpi_session.hpp"

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <nccl.h>

#include <atomic>
#include <cstring>
#include <exception>
#include <source_location>

namespace maskedkd {
namespace {

void check_nccl(ncclResult_t result, const char* call, std::source_location where = std::source_location::current()) {
  if (result != ncclSuccess) {
    // All other errors come from links, devices and dead ranks: another start may succeed.
    const bool mistake = result == ncclInvalidArgument || result == ncclInvalidUsage;
    throw Error(fmt::format("{} failed: {}", call, ncclGetErrorString(result)),
                "set NCCL_DEBUG=INFO in the environment for details", mistake ? ExitCode::failure : ExitCode::requeue,
                where);
  }
}

// Everything is queued on the device's current stream, so later work of that stream sees the result.
class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(const MpiSession& session, at::Device device)
      : activity_(session.activity()), rank_(session.rank()), size_(session.size()), device_(device) {
    const c10::cuda::CUDAGuard guard(device_);
    ncclUniqueId id;
    if (rank_ == 0) {
      check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
    }
    const std::string shared = session.broadcast(std::string(reinterpret_cast<const char*>(&id), sizeof(id)));
    std::memcpy(&id, shared.data(), sizeof(id));
    const Activity::Waiting waiting(activity_, "ncclCommInitRank");
    check_nccl(ncclCommInitRank(&comm_, size_, id, rank_), "ncclCommInitRank");
  }
  ~NcclCommunicator() override {
    if (std::uncaught_exceptions() > exceptions_before_ || aborted_) {
      return;  // destroying it waits for the other ranks, which wait for this one; the job is about to be aborted
    }
    if (failed_ || !async_error().empty()) {
      abort();
      return;
    }
    const Activity::Waiting waiting(activity_, "ncclCommDestroy");
    const ncclResult_t ended = ncclCommDestroy(comm_);
    if (ended != ncclSuccess) {
      spdlog::warn("NCCL did not end cleanly: {}", ncclGetErrorString(ended));
    }
  }
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int rank() const noexcept override { return rank_; }
  int size() const noexcept override { return size_; }
  const Activity& activity() const noexcept override { return activity_; }

  std::string async_error() override {
    ncclResult_t state = ncclSuccess;
    if (aborted_) {
      return {};
    }
    const ncclResult_t query = ncclCommGetAsyncError(comm_, &state);
    const ncclResult_t worst = query != ncclSuccess ? query : state;
    return worst == ncclSuccess || worst == ncclInProgress
               ? std::string()
               : fmt::format("NCCL: {} ({})", ncclGetErrorString(worst), ncclGetLastError(comm_));
  }

  void abort() noexcept override {
    if (!aborted_.exchange(true)) {
      static_cast<void>(cudaSetDevice(device_.index()));  // in the watchdog's thread, whose current device is GPU 0
      ncclCommAbort(comm_);
    }
  }

  void all_reduce_sum(at::Tensor& tensor) override {
    const auto values = values_of(tensor);
    const Activity::Waiting waiting(activity_, "all-reduce");
    check(ncclAllReduce(values, values, tensor.numel(), ncclFloat, ncclSum, comm_, stream()), "ncclAllReduce");
    check_async();
  }

  void exchange(const at::Tensor& send, at::Tensor& receive, int peer) override {
    check_exchange(send, receive, peer, size_, device_);
    float* received = receive.mutable_data_ptr<float>();
    const Activity::Waiting waiting(activity_, "exchange");
    check(ncclGroupStart(), "ncclGroupStart");
    if (send.numel() > 0) {
      check(ncclSend(send.const_data_ptr<float>(), send.numel(), ncclFloat, peer, comm_, stream()), "ncclSend");
    }
    if (receive.numel() > 0) {
      check(ncclRecv(received, receive.numel(), ncclFloat, peer, comm_, stream()), "ncclRecv");
    }
    check(ncclGroupEnd(), "ncclGroupEnd");
    check_async();
  }

  void broadcast(at::Tensor& tensor, int root) override {
    const auto values = values_of(tensor);
    const Activity::Waiting waiting(activity_, "broadcast");
    check(ncclBroadcast(values, values, tensor.numel(), ncclFloat, root, comm_, stream()), "ncclBroadcast");
    check_async();
  }

 private:
  float* values_of(at::Tensor& tensor) const {
    check_movable(tensor, device_);
    return tensor.mutable_data_ptr<float>();
  }
  cudaStream_t stream() const { return c10::cuda::getCurrentCUDAStream(device_.index()).stream(); }
  void check(ncclResult_t result, const char* call, std::source_location where = std::source_location::current()) {
    failed_ |= result != ncclSuccess;
    check_nccl(result, call, where);
  }
  void check_async() {
    ncclResult_t state = ncclSuccess;
    check(aborted_ ? ncclRemoteError : ncclCommGetAsyncError(comm_, &state), "ncclCommGetAsyncError");
    check(state, "an NCCL operation");
  }

  const Activity& activity_;
  int rank_;
  int size_;
  int exceptions_before_ = std::uncaught_exceptions();
  at::Device device_;
  ncclComm_t comm_ = nullptr;
  bool failed_ = false;
  std::atomic<bool> aborted_{false};  // set by the watchdog's thread
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(const MpiSession& session, at::Device device) {
  return std::make_unique<NcclCommunicator>(session, device);
}

}  // namespace maskedkd
