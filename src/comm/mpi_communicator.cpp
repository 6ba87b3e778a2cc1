#include "backends.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "mpi_check.hpp"

#include <algorithm>
#include <exception>

namespace maskedkd {
namespace {

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(const MpiSession& session)
      : activity_(session.activity()), rank_(session.rank()), size_(session.size()) {
    const Activity::Waiting waiting(activity_, "MPI_Comm_dup");
    // A separate communicator keeps these messages apart from those of the control plane.
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm_), "MPI_Comm_dup");
    check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }
  ~MpiCommunicator() override {
    // MPI_Comm_free is collective: it is not called during an exception, when the other ranks are elsewhere.
    if (std::uncaught_exceptions() == exceptions_before_) {
      const Activity::Waiting waiting(activity_, "MPI_Comm_free");
      MPI_Comm_free(&comm_);
    }
  }
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  int rank() const noexcept override { return rank_; }
  int size() const noexcept override { return size_; }
  const Activity& activity() const noexcept override { return activity_; }

  void all_reduce_sum(at::Tensor& tensor) override {
    float* values = values_of(tensor);
    const Activity::Waiting waiting(activity_, "all-reduce");
    for_each_chunk(tensor.numel(), [&](std::int64_t offset, int count) {
      check_mpi(MPI_Allreduce(MPI_IN_PLACE, values + offset, count, MPI_FLOAT, MPI_SUM, comm_), "MPI_Allreduce");
    });
  }

  void exchange(const at::Tensor& send, at::Tensor& receive, int peer) override {
    check_exchange(send, receive, peer, size_, at::kCPU);
    float* received = receive.mutable_data_ptr<float>();
    const float* sent = send.const_data_ptr<float>();
    const Activity::Waiting waiting(activity_, "exchange");
    // As one rank's `send` is the other's `receive`, both have the same number of chunks.
    for_each_chunk(std::max(send.numel(), receive.numel()), [&](std::int64_t offset, int chunk) {
      const auto count = [&](const at::Tensor& tensor) {
        return static_cast<int>(std::clamp<std::int64_t>(tensor.numel() - offset, 0, chunk));
      };
      check_mpi(MPI_Sendrecv(count(send) > 0 ? sent + offset : nullptr, count(send), MPI_FLOAT, peer, 0,
                             count(receive) > 0 ? received + offset : nullptr, count(receive), MPI_FLOAT, peer, 0,
                             comm_, MPI_STATUS_IGNORE),
                "MPI_Sendrecv");
    });
  }

  void broadcast(at::Tensor& tensor, int root) override {
    float* values = values_of(tensor);
    const Activity::Waiting waiting(activity_, "broadcast");
    for_each_chunk(tensor.numel(), [&](std::int64_t offset, int count) {
      check_mpi(MPI_Bcast(values + offset, count, MPI_FLOAT, root, comm_), "MPI_Bcast");
    });
  }

 private:
  static float* values_of(at::Tensor& tensor) {
    check_movable(tensor, at::kCPU);
    return tensor.mutable_data_ptr<float>();
  }

  const Activity& activity_;
  int exceptions_before_ = std::uncaught_exceptions();
  int rank_;
  int size_;
  MPI_Comm comm_ = MPI_COMM_NULL;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(const MpiSession& session) {
  return std::make_unique<MpiCommunicator>(session);
}

}  // namespace maskedkd
