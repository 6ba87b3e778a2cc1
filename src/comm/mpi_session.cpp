#include "maskedkd/comm/mpi_session.hpp"

#include "maskedkd/base/environment.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/comm/launch_check.hpp"
#include "maskedkd/comm/single_copy.hpp"
#include "mpi_check.hpp"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <numeric>
#include <thread>

namespace maskedkd {
namespace {

// The launcher of the MPI that this program was built with; empty where it is not on this machine.
std::string mpiexec_of_this_mpi() {
  std::error_code unreadable;
  return std::filesystem::exists(MASKEDKD_MPIEXEC, unreadable) ? MASKEDKD_MPIEXEC : "";
}

int checked_count(std::int64_t bytes) {
  if (bytes > kMaxMpiCount) {
    throw Error(fmt::format("the ranks' texts have {} bytes, too many to gather", bytes));
  }
  return static_cast<int>(bytes);
}

}  // namespace

MpiSession::MpiSession(int& argc, char**& argv) {
  check_pmi(environment_variable);
  const std::string warning = mpiexec_warning(environment_variable);  // MPI_Init sets variables of mpiexec
  const std::vector<LaunchSign> signs = launch_signs(environment_variable);
  turn_off_forbidden_single_copy(memory_access());
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_FUNNELED) {
    throw Error("this MPI does not support threads besides the one that calls it",
                "use an MPI with MPI_THREAD_FUNNELED");
  }
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size");
  check_num_ranks(size_, environment_variable);
  check_foreign_launcher(size_, signs, mpiexec_of_this_mpi());
  if (rank_ == 0 && !warning.empty()) {
    spdlog::warn("{}", warning);
  }
  MPI_Comm node = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node),
            "MPI_Comm_split_type");
  check_mpi(MPI_Comm_rank(node, &local_rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(node, &local_size_), "MPI_Comm_size");
  check_mpi(MPI_Comm_free(&node), "MPI_Comm_free");
}

MpiSession::~MpiSession() {
  const auto ended = std::make_shared<std::atomic<bool>>(false);
  if (finalize_timeout_s_ > 0) {
    std::thread([ended, seconds = finalize_timeout_s_] {
      std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
      if (!*ended) {
        spdlog::error("the other ranks did not end within {:.0f} s; this process ends with exit code {}", seconds,
                      static_cast<int>(ExitCode::requeue));
        std::_Exit(static_cast<int>(ExitCode::requeue));
      }
    }).detach();
  }
  MPI_Finalize();
  *ended = true;
}

void MpiSession::barrier() const {
  const Activity::Waiting waiting(activity_, "barrier");
  check_mpi(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier");
}

std::vector<double> MpiSession::all_gather(std::span<const double> values) const {
  const Activity::Waiting waiting(activity_, "all_gather");
  std::vector<double> all(values.size() * static_cast<std::size_t>(size_));
  check_mpi(MPI_Allgather(values.data(), static_cast<int>(values.size()), MPI_DOUBLE, all.data(),
                          static_cast<int>(values.size()), MPI_DOUBLE, MPI_COMM_WORLD),
            "MPI_Allgather");
  return all;
}

bool MpiSession::any(bool mine) const {
  const Activity::Waiting waiting(activity_, "any");
  int one = mine ? 1 : 0;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &one, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD), "MPI_Allreduce");
  return one != 0;
}

// Over rank 0: the messages of all ranks together grow with their number, not with its square as in a ring.
std::vector<std::string> MpiSession::all_gather(const std::string& text) const {
  const Activity::Waiting waiting(activity_, "all_gather");
  const int own = checked_count(static_cast<std::int64_t>(text.size()));
  std::vector<int> lengths(static_cast<std::size_t>(size_)), begins(lengths.size());
  check_mpi(MPI_Gather(&own, 1, MPI_INT, lengths.data(), 1, MPI_INT, 0, MPI_COMM_WORLD), "MPI_Gather");
  std::string joined(
      static_cast<std::size_t>(checked_count(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0}))), '\0');
  std::exclusive_scan(lengths.begin(), lengths.end(), begins.begin(), 0);
  check_mpi(MPI_Gatherv(text.data(), own, MPI_CHAR, joined.data(), lengths.data(), begins.data(), MPI_CHAR, 0,
                        MPI_COMM_WORLD),
            "MPI_Gatherv");
  check_mpi(MPI_Bcast(lengths.data(), size_, MPI_INT, 0, MPI_COMM_WORLD), "MPI_Bcast");
  joined = broadcast(joined);
  std::vector<std::string> all;
  for (std::size_t begin = 0; const int length : lengths) {
    all.push_back(joined.substr(begin, static_cast<std::size_t>(length)));
    begin += all.back().size();
  }
  return all;
}

std::string MpiSession::broadcast(const std::string& text, int root) const {
  const Activity::Waiting waiting(activity_, "broadcast");
  std::int64_t length = static_cast<std::int64_t>(text.size());
  check_mpi(MPI_Bcast(&length, 1, MPI_INT64_T, root, MPI_COMM_WORLD), "MPI_Bcast");
  std::string received = rank_ == root ? text : std::string(static_cast<std::size_t>(length), '\0');
  for_each_chunk(length, [&](std::int64_t offset, int count) {
    check_mpi(MPI_Bcast(received.data() + offset, count, MPI_CHAR, root, MPI_COMM_WORLD), "MPI_Bcast");
  });
  return received;
}

void MpiSession::abort(int exit_code) const noexcept {
  spdlog::default_logger_raw()->flush();
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace maskedkd
