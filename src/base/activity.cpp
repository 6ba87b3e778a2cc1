#include "maskedkd/base/activity.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

namespace maskedkd {

void Activity::report(std::string_view text, Pace pace) const noexcept {
  stop_if_ended();
  const std::uint32_t version = version_.load(std::memory_order_relaxed);
  version_.store(version + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  const std::size_t length = std::min(text.size(), kMaxTextBytes);
  for (std::size_t i = 0; i < length; ++i) {
    text_[i].store(text[i], std::memory_order_relaxed);
  }
  text_[length].store('\0', std::memory_order_relaxed);
  version_.store(version + 2, std::memory_order_release);
  pace_.store(pace, std::memory_order_relaxed);
  beat();
}

void Activity::stop_if_ended() const noexcept {
  while (ended_.load(std::memory_order_acquire)) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

Activity::Waiting::Waiting(const Activity& activity, const char* collective) noexcept
    : activity_(activity), outer_(activity.waits_in_.load(std::memory_order_relaxed)) {
  activity_.stop_if_ended();
  activity_.collectives_.fetch_add(1, std::memory_order_relaxed);
  activity_.waits_in_.store(collective, std::memory_order_relaxed);
  activity_.beat();
}

Activity::Waiting::~Waiting() {
  activity_.waits_in_.store(outer_, std::memory_order_relaxed);
  activity_.beat();
}

void Activity::skip_collectives(int collectives) const noexcept {
  collectives_.fetch_add(static_cast<std::uint64_t>(collectives), std::memory_order_relaxed);
}

Activity::State Activity::read() const {
  State state;
  state.beats = beats_.load(std::memory_order_relaxed);
  state.collectives = collectives_.load(std::memory_order_relaxed);
  state.waits_in = waits_in_.load(std::memory_order_relaxed);
  state.pace = pace_.load(std::memory_order_relaxed);
  for (std::uint32_t before = 1, after = 0; before != after || before % 2 != 0;) {
    before = version_.load(std::memory_order_acquire);
    state.text.clear();
    for (std::size_t i = 0; i < kMaxTextBytes; ++i) {
      const char letter = text_[i].load(std::memory_order_relaxed);
      if (letter == '\0') {
        break;
      }
      state.text.push_back(letter);
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    after = version_.load(std::memory_order_relaxed);
  }
  return state;
}

}  // namespace maskedkd
