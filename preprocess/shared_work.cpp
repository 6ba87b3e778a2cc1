#include "preprocess/shared_work.hpp"

#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/comm/rank_reports.hpp"

#include <thread>

namespace maskedkd {

Peers peers_of(const MpiSession& session) {
  return {session.rank(), session.size(), [&session](const std::string& text) { return session.all_gather(text); }};
}

ShardIndex read_shared_index(const Peers& peers, const std::filesystem::path& directory) {
  return parse_shard_index(peers.from_rank_zero([&] { return serialise(read_shard_index(directory)); }),
                           directory / kShardIndexName);
}

void wait_and_show(const MpiSession& session, const SharedWork& work) {
  constexpr std::chrono::milliseconds kPollInterval(50), kReportInterval(500), kLastReportsInterval(5);
  RankReports reports(session, work.counts().size());
  const auto show = [&] {
    reports.receive();
    work.show(reports.sum());
  };
  auto reported = std::chrono::steady_clock::now();
  while (!work.wait(kPollInterval)) {
    const auto now = std::chrono::steady_clock::now();
    if (session.rank() == 0) {
      reports.report(work.counts());
      show();
    } else if (now - reported > kReportInterval) {
      reports.report(work.counts());
      reported = now;
    }
  }
  reports.finish(work.counts());
  while (session.rank() == 0 && !reports.all_finished()) {
    std::this_thread::sleep_for(kLastReportsInterval);
    show();
  }
}

}  // namespace maskedkd
