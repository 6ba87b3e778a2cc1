// A few numbers that every rank tells rank 0 now and then, while nobody waits for anybody: progress of work that the
// ranks do each for itself.
#pragma once

#include <memory>
#include <span>
#include <vector>

namespace maskedkd {

class MpiSession;

class RankReports {
 public:
  // Collective. num_values: of each report. One object at a time.
  RankReports(const MpiSession& session, std::size_t num_values);
  RankReports(const RankReports&) = delete;
  RankReports& operator=(const RankReports&) = delete;
  ~RankReports();

  // Any rank, at any time: what rank 0 is to know now. Left out where the one before is still under way.
  void report(std::span<const double> values);
  // The last one: certain to arrive. Rank 0's own counts too.
  void finish(std::span<const double> values);

  // Rank 0 only: takes in what has arrived.
  void receive();
  bool all_finished() const;        // every rank has called finish() and it has arrived
  std::vector<double> sum() const;  // over the ranks, of each one's newest report

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace maskedkd
