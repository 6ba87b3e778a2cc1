#include "devices.hpp"
#include "faults.hpp"
#include "settings.hpp"
#include "streams.hpp"
#include "trace.hpp"

#include <unistd.h>

#include <algorithm>

namespace maskedkd::null_device {
namespace {

constexpr int kPollMicroseconds = 50;

Scheduler* make_scheduler() {
  auto* made = new Scheduler;  // never destroyed: calls come until the process has ended
  for (int device = 0; device < num_devices(); ++device) {
    auto stream = std::make_shared<Stream>();
    stream->device = device;
    stream->blocking = true;
    made->defaults.push_back(stream);
  }
  if (settings().schedule) {
    made->late = true;
    made->random.seed(*settings().schedule * 1000003 + static_cast<std::uint64_t>(settings().rank));
    constexpr double kEagerness[] = {0, 0, 0.02, 0.2};
    constexpr double kDisorder[] = {0, 0.3, 0.8};
    made->eagerness = kEagerness[made->random() % std::size(kEagerness)];
    made->disorder = kDisorder[made->random() % std::size(kDisorder)];
  }
  return made;
}

bool happens(std::mt19937_64& random, double probability) {
  return static_cast<double>(random() >> 11) * 0x1p-53 < probability;
}

}  // namespace

bool Position::reached() const { return stream == nullptr || stream->finished >= count; }

Scheduler& scheduler() {
  static Scheduler* const made = make_scheduler();
  return *made;
}

Position end_of(const std::shared_ptr<Stream>& stream) { return {stream, stream->queued}; }

std::shared_ptr<Stream> Scheduler::find(cudaStream_t handle) {
  const auto& current = defaults.at(static_cast<std::size_t>(current_device()));
  if (handle == nullptr || handle == cudaStreamLegacy || handle == cudaStreamPerThread) {
    return current;
  }
  const auto found = std::find_if(created.begin(), created.end(), [handle](const auto& stream) {
    return stream.get() == reinterpret_cast<Stream*>(handle);
  });
  if (found == created.end()) {
    mistake("%p is not a stream", static_cast<void*>(handle));
    return current;
  }
  return *found;
}

std::vector<std::shared_ptr<Stream>> Scheduler::all() const {
  std::vector<std::shared_ptr<Stream>> streams = defaults;
  streams.insert(streams.end(), created.begin(), created.end());
  return streams;
}

void Scheduler::append(const std::shared_ptr<Stream>& stream, Step step, const Position& waits_for) {
  ++stream->queued;
  stream->queue.push_back({std::move(step), waits_for});
}

void Scheduler::submit(const std::shared_ptr<Stream>& stream, Step step) {
  const auto wait_for_stream = [&](const std::shared_ptr<Stream>& other) {
    if (const Position end = end_of(other); !end.reached()) {
      append(
          stream, [end] { return end.reached() ? Progress::finished : Progress::blocked; }, end);
    }
  };
  const auto& standard = defaults[static_cast<std::size_t>(stream->device)];
  if (stream == standard) {
    for (const auto& other : created) {
      if (other->blocking && other->device == stream->device) {
        wait_for_stream(other);
      }
    }
  } else if (stream->blocking) {
    wait_for_stream(standard);
  }
  append(stream, std::move(step));
  run();
}

bool Scheduler::advance(const std::shared_ptr<Stream>& stream) {
  if (stream->queue.empty()) {
    return false;
  }
  const Progress progress = stream->queue.front().step();
  if (progress == Progress::finished) {
    stream->queue.pop_front();
    ++stream->finished;
  }
  return progress != Progress::blocked;
}

bool Scheduler::advance_any() {
  const auto streams = all();
  const std::size_t first = random() % streams.size();
  for (std::size_t i = 0; i < streams.size(); ++i) {
    if (advance(streams[(first + i) % streams.size()])) {
      return true;
    }
  }
  return false;
}

void Scheduler::run() {
  if (late) {
    while (happens(random, eagerness) && advance_any()) {
    }
    return;
  }
  for (bool progress = true; progress;) {
    progress = false;
    for (const auto& stream : all()) {
      while (advance(stream)) {
        progress = true;
      }
    }
  }
}

bool Scheduler::advance_towards(const Position& position) {
  if (late && happens(random, disorder)) {
    return advance_any();
  }
  // Follow what the stream waits for. The chain ends, as an entry waits only for entries that were queued before it.
  Position at = position;
  while (!at.stream->queue.empty() && !at.stream->queue.front().waits_for.reached()) {
    at = at.stream->queue.front().waits_for;
  }
  return advance(std::const_pointer_cast<Stream>(at.stream)) || advance_any();
}

void wait_for(const Position& position) {
  Scheduler& s = scheduler();
  for (;;) {
    {
      const std::lock_guard lock(s.mutex);
      bool progress = true;
      while (!position.reached() && progress) {
        progress = s.advance_towards(position);
      }
      if (position.reached() || sticky_error() != 0) {
        return;
      }
    }
    usleep(kPollMicroseconds);  // other ranks have to advance
  }
}

void wait_for_device(int device) {
  std::vector<Position> ends;
  {
    Scheduler& s = scheduler();
    const std::lock_guard lock(s.mutex);
    for (const auto& stream : s.all()) {
      if (stream->device == device) {
        ends.push_back(end_of(stream));
      }
    }
  }
  for (const Position& end : ends) {
    wait_for(end);
  }
}

StreamState state_of(cudaStream_t handle) {
  Scheduler& s = scheduler();
  const std::lock_guard lock(s.mutex);
  const auto stream = s.find(handle);
  return {stream, stream->capture != nullptr};
}

}  // namespace maskedkd::null_device
