// Observes this process's main thread from another one: its beats, the time since the last one, and whether it runs.
#pragma once

#include "hang_diagnosis.hpp"

#include <cstdint>
#include <string>

namespace maskedkd {

class MainThreadObserver {
 public:
  // Called by the main thread. The activity outlives this.
  MainThreadObserver(const Activity& activity, std::string host);

  // Observes again, passed_s seconds after the last time. Always the same thread.
  void look(double passed_s);
  const RankState& state() const noexcept { return state_; }

 private:
  const Activity& activity_;
  int thread_;  // the system's thread id
  RankState state_;
  std::uint64_t beats_ = 0;
  int looks_ = 0, looks_awake_ = 0;  // since the last beat
};

}  // namespace maskedkd
