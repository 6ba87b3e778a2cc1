// The ranks that work together, without MPI, so that tests can stand in for them with threads.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace maskedkd {

// Every rank makes the same calls in the same order.
struct Peers {
  int rank = 0;
  int size = 1;
  // Collective: the text of every rank, in the order of the ranks.
  std::function<std::vector<std::string>(const std::string&)> all_gather = [](const std::string& text) {
    return std::vector<std::string>{text};
  };

  // Collective: calls `read` on rank 0 only and returns its result on every rank. A file that all of them need is read
  // once, not by a thousand ranks at the same instant. An exception on rank 0 has to end the job, as run_main() does.
  template <typename Read>
  std::string from_rank_zero(const Read& read) const {
    return all_gather(rank == 0 ? read() : std::string()).front();
  }
};

}  // namespace maskedkd
