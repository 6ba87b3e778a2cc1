// What a rank's main thread is doing now, for the watchdog's thread to read (watchdog/watchdog.hpp). A report is a few
// stores, without a lock or a clock. MpiSession owns it; it can be written through a const session, as nothing that is
// computed depends on it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace maskedkd {

class Activity {
 public:
  // slow: what begins may take much longer than a step (reading a checkpoint, the first step).
  enum class Pace { usual, slow };

  // Main thread only. A sign of life, with what begins now: "step 17: waiting for data"; cut after kMaxTextBytes.
  void report(std::string_view text, Pace pace = Pace::usual) const noexcept;
  // Any thread. A sign of life: what the main thread waits for makes progress, say a record was read.
  void beat() const noexcept { beats_.fetch_add(1, std::memory_order_relaxed); }

  // Any thread. The job is being ended and the process is about to exit: whoever reports from here on does not return.
  // What the main thread computes after a communicator was aborted is garbage, which must not reach a checkpoint or an
  // exit code.
  void end() const noexcept { ended_.store(true, std::memory_order_release); }
  // Does not return after end().
  void stop_if_ended() const noexcept;

  // While an object of this class exists, the main thread waits for other ranks in the collective of that name.
  class Waiting {
   public:
    Waiting(const Activity& activity, const char* collective) noexcept;  // a literal
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    ~Waiting();

   private:
    const Activity& activity_;
    const char* outer_;
  };
  // Counts collectives that only other ranks take part in, so that the counts of all ranks agree.
  void skip_collectives(int collectives) const noexcept;

  struct State {
    std::uint64_t beats = 0;
    std::uint64_t collectives = 0;   // entered so far
    const char* waits_in = nullptr;  // the collective, or nullptr: it does not wait for others
    Pace pace = Pace::slow;
    std::string text;
  };
  State read() const;  // any thread

  static constexpr std::size_t kMaxTextBytes = 96;

 private:
  // A text is whole where the version is even and the same before and after it was read.
  mutable std::atomic<std::uint32_t> version_{0};
  mutable std::array<std::atomic<char>, kMaxTextBytes + 1> text_{};
  mutable std::atomic<std::uint64_t> beats_{0};
  mutable std::atomic<std::uint64_t> collectives_{0};
  mutable std::atomic<const char*> waits_in_{nullptr};
  mutable std::atomic<Pace> pace_{Pace::slow};
  mutable std::atomic<bool> ended_{false};
};

}  // namespace maskedkd
