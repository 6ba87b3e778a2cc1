// Reports a few numbers from every rank to rank 0 without waiting: the progress of work that each rank does by itself.
#pragma once

#include <memory>
#include <span>
#include <vector>

namespace maskedkd {

class MpiSession;

class RankReports {
 public:
  // Collective. num_values: the length of each report. Only one object may exist at a time.
  RankReports(const MpiSession& session, std::size_t num_values);
  RankReports(const RankReports&) = delete;
  RankReports& operator=(const RankReports&) = delete;
  ~RankReports();

  // Any rank, at any time. Sends the current values to rank 0; skipped while the previous report is still being sent.
  void report(std::span<const double> values);
  // The last report, which is certain to arrive. Rank 0 calls it too.
  void finish(std::span<const double> values);

  // Rank 0 only: receives the reports that have arrived.
  void receive();
  bool all_finished() const;        // whether the last report of every rank has arrived
  std::vector<double> sum() const;  // over the newest reports of all ranks

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace maskedkd
