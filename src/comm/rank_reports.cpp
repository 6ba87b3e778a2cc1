#include "maskedkd/comm/rank_reports.hpp"

#include "maskedkd/comm/mpi_session.hpp"
#include "mpi_check.hpp"

#include <algorithm>
#include <exception>

namespace maskedkd {

constexpr int kReportTag = 4711;

struct RankReports::State {
  MPI_Comm world = MPI_COMM_NULL;  // a separate communicator for these messages
  int rank = 0;
  std::size_t num_values = 0;
  int num_exceptions = std::uncaught_exceptions();  // when this object was made
  MPI_Request request = MPI_REQUEST_NULL;
  std::vector<double> sent;                 // the values, then 1 in the last report, else 0
  std::vector<std::vector<double>> newest;  // report of each rank; on rank 0
};

RankReports::RankReports(const MpiSession& session, std::size_t num_values) : state_(std::make_unique<State>()) {
  state_->rank = session.rank();
  state_->num_values = num_values;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &state_->world), "MPI_Comm_dup");
  state_->newest.assign(static_cast<std::size_t>(session.size()), std::vector<double>(num_values + 1, 0.0));
}

// MPI_Comm_free is collective: not called during an exception. A pending send keeps its memory until the job ends.
RankReports::~RankReports() {
  int arrived = 0;
  if (std::uncaught_exceptions() == state_->num_exceptions) {
    MPI_Test(&state_->request, &arrived, MPI_STATUS_IGNORE);
  }
  if (arrived != 0) {
    MPI_Comm_free(&state_->world);
  } else {
    static_cast<void>(state_.release());  // NOLINT(bugprone-unused-return-value)
  }
}

void RankReports::report(std::span<const double> values) {
  State& state = *state_;
  if (state.rank == 0) {
    std::copy_n(values.begin(), state.num_values, state.newest[0].begin());
    return;
  }
  int arrived = 0;
  check_mpi(MPI_Test(&state.request, &arrived, MPI_STATUS_IGNORE), "MPI_Test");
  if (arrived != 0) {
    state.sent.assign(values.begin(), values.end());
    state.sent.push_back(0);
    check_mpi(MPI_Isend(state.sent.data(), static_cast<int>(state.sent.size()), MPI_DOUBLE, 0, kReportTag, state.world,
                        &state.request),
              "MPI_Isend");
  }
}

void RankReports::finish(std::span<const double> values) {
  State& state = *state_;
  if (state.rank == 0) {
    report(values);
    state.newest[0].back() = 1;
    return;
  }
  check_mpi(MPI_Wait(&state.request, MPI_STATUS_IGNORE), "MPI_Wait");
  state.sent.assign(values.begin(), values.end());
  state.sent.push_back(1);
  check_mpi(MPI_Send(state.sent.data(), static_cast<int>(state.sent.size()), MPI_DOUBLE, 0, kReportTag, state.world),
            "MPI_Send");
}

void RankReports::receive() {
  State& state = *state_;
  for (;;) {
    int has_message = 0;
    MPI_Status status;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, kReportTag, state.world, &has_message, &status), "MPI_Iprobe");
    if (has_message == 0) {
      return;
    }
    std::vector<double>& values = state.newest[static_cast<std::size_t>(status.MPI_SOURCE)];
    check_mpi(MPI_Recv(values.data(), static_cast<int>(values.size()), MPI_DOUBLE, status.MPI_SOURCE, kReportTag,
                       state.world, MPI_STATUS_IGNORE),
              "MPI_Recv");
  }
}

bool RankReports::all_finished() const {
  return std::all_of(state_->newest.begin(), state_->newest.end(),
                     [](const std::vector<double>& values) { return values.back() != 0; });
}

std::vector<double> RankReports::sum() const {
  std::vector<double> total(state_->num_values, 0.0);
  for (const std::vector<double>& values : state_->newest) {
    for (std::size_t i = 0; i < total.size(); ++i) {
      total[i] += values[i];
    }
  }
  return total;
}

}  // namespace maskedkd
