// Summing a gradient over the ranks: whole tensors between pairs, log2(ranks) times, beside tree_all_reduce_sum, which
// halves and doubles, and the MPI library's own sum, whose order of additions is not fixed.
//   mpiexec -n RANKS reduction_bench [VALUES] [ROUNDS]     default: 5717416 (DeiT-Tiny), 9
// One round: each once, in turns, between barriers. Prints rank 0's medians, and what it sent.
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/comm/tree_all_reduce.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace {

using namespace maskedkd;

// Passes exchanges on, and counts the bytes that this rank sends.
class CountingCommunicator final : public Communicator {
 public:
  explicit CountingCommunicator(Communicator& inner) : inner_(inner) {}
  int rank() const noexcept override { return inner_.rank(); }
  int size() const noexcept override { return inner_.size(); }
  const Activity& activity() const noexcept override { return inner_.activity(); }
  void all_reduce_sum(at::Tensor& tensor) override { inner_.all_reduce_sum(tensor); }
  void broadcast(at::Tensor& tensor, int root) override { inner_.broadcast(tensor, root); }
  void exchange(const at::Tensor& send, at::Tensor& receive, int peer) override {
    sent_bytes += static_cast<double>(send.nbytes());
    inner_.exchange(send, receive, peer);
  }
  double sent_bytes = 0;

 private:
  Communicator& inner_;
};

// For a power of two of ranks.
void add_whole_tensors(Communicator& communicator, at::Tensor& tensor) {
  at::Tensor received = at::empty_like(tensor);
  for (int distance = 1; distance < communicator.size(); distance *= 2) {
    communicator.exchange(tensor, received, communicator.rank() ^ distance);
    tensor += received;
  }
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const MpiSession session(argc, argv);
  const std::int64_t length = argc > 1 ? std::atoll(argv[1]) : 5'717'416;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 9;
  const auto communicator = make_communicator(session, at::kCPU);
  CountingCommunicator counting(*communicator);
  at::Tensor gradient = at::ones({length});
  std::map<std::string, std::vector<double>> seconds;
  std::map<std::string, double> sent_bytes;
  const auto measure = [&](const std::string& name, const auto& sum) {
    gradient.fill_(1.0F);
    counting.sent_bytes = 0;
    session.barrier();
    const auto began = std::chrono::steady_clock::now();
    sum(counting, gradient);
    session.barrier();
    seconds[name].push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
    sent_bytes[name] = counting.sent_bytes;
  };
  for (int round = 0; round < rounds; ++round) {
    measure("whole tensors", add_whole_tensors);
    measure("halving and doubling", tree_all_reduce_sum);
    measure("MPI_Allreduce", [](Communicator& each, at::Tensor& tensor) { each.all_reduce_sum(tensor); });
  }
  if (session.rank() == 0) {
    for (const auto& [name, values] : seconds) {
      fmt::print("{} ranks, {:.1f} million values, {:<22} {:8.2f} ms, {:7.1f} MB sent\n", session.size(),
                 static_cast<double>(length) / 1e6, name, 1e3 * median(values), sent_bytes[name] / 1e6);
    }
  }
  return 0;
}
