// What this process's main thread does, as far as a thread beside it can see: its beats, for how long there was none,
// and whether it runs meanwhile.
#pragma once

#include "hang_diagnosis.hpp"

#include <cstdint>
#include <string>

namespace maskedkd {

class MainThreadObserver {
 public:
  // By the main thread itself. The activity outlives this.
  MainThreadObserver(const Activity& activity, std::string host);

  // Looks again, passed_s seconds after the last time. By one thread.
  void look(double passed_s);
  // What was seen.
  const RankState& state() const noexcept { return state_; }

 private:
  const Activity& activity_;
  int thread_;  // the system's number
  RankState state_;
  std::uint64_t beats_ = 0;
  int looks_ = 0, looks_awake_ = 0;  // since the last beat
};

}  // namespace maskedkd
