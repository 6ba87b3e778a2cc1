#include "main_thread_observer.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <utility>

namespace maskedkd {
namespace {

// Whether the thread runs or waits for a processor: on a busy machine a thread that polls gets little CPU time.
bool is_awake(int thread) {
  std::ifstream stat(fmt::format("/proc/self/task/{}/stat", thread));
  std::string line;
  std::getline(stat, line);
  const std::size_t name_ends = line.rfind(") ");  // the name may contain anything
  return name_ends != std::string::npos && line[name_ends + 2] == 'R';
}

}  // namespace

MainThreadObserver::MainThreadObserver(const Activity& activity, std::string host)
    : activity_(activity), thread_(static_cast<int>(::gettid())) {
  state_.link = RankLink::linked;
  state_.host = std::move(host);
}

void MainThreadObserver::look(double passed_s) {
  const Activity::State seen = activity_.read();
  state_.stalled_s += passed_s;
  if (seen.beats != beats_) {
    if (state_.pace == Activity::Pace::usual) {
      state_.longest_s = std::max(state_.longest_s, state_.stalled_s);
    }
    beats_ = seen.beats;
    state_.stalled_s = 0;
    looks_ = looks_awake_ = 0;
  }
  ++looks_;
  looks_awake_ += is_awake(thread_) ? 1 : 0;
  state_.awake = static_cast<double>(looks_awake_) / looks_;
  state_.collectives = seen.collectives;
  state_.waits = seen.waits_in != nullptr;
  state_.pace = seen.pace;
  state_.doing = seen.text.empty() ? "nothing yet" : seen.text;
  if (state_.waits) {
    state_.doing += fmt::format(", waits for the others in {}", seen.waits_in);
  }
}

}  // namespace maskedkd
