// Progress of long work on standard error: a bar with rate and time left on a terminal, a plain line now and then
// elsewhere.
#pragma once

#include "maskedkd/base/running_clock.hpp"

#include <cstdint>
#include <string>

namespace maskedkd {

class Progress {
 public:
  // title: "epoch 3". unit: "img". total in units; 0: unknown. shown: false on all ranks but 0.
  Progress(std::string title, std::string unit, std::int64_t total, bool shown);
  ~Progress();  // ends the line
  // done: units so far. detail: what else to show, say "loss 1.234, waiting 3 %". Draws at most ten times a second
  // (terminal) or every 30 s (no terminal).
  void update(std::int64_t done, const std::string& detail);

 private:
  std::string title_;
  std::string unit_;
  std::int64_t total_;
  bool shown_;
  bool terminal_;
  bool drawn_ = false;
  RunningClock::time_point started_;
  RunningClock::time_point last_drawn_;
  std::int64_t first_done_ = -1;
};

}  // namespace maskedkd
