// Streams and the order in which their work is done. Copies, memsets, collective operations and host functions are
// entries of a stream's queue; kernels do nothing and so are none. An event is a position in a stream: it is reached
// once all entries before it are finished.
//
// Without a schedule, an entry is executed when it is queued, unless something before it is not finished (a collective
// operation waits for other ranks). With NULL_DEVICE_SCHEDULE, entries are executed as late as the program allows, and
// the streams in an order that the seed chooses: only what waits for a position forces work.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <vector>

namespace maskedkd::null_device {

struct Capture;
struct Stream;

enum class Progress {
  blocked,   // nothing can be done before something else is finished
  advanced,  // a part is done
  finished,
};
using Step = std::function<Progress()>;

struct Position {
  std::shared_ptr<const Stream> stream;
  std::uint64_t count = 0;  // of entries that are to be finished
  bool reached() const;
};

struct Entry {
  Step step;
  Position waits_for;  // empty where `step` does not wait for a stream
};

struct Stream {
  int device = 0;
  bool blocking = false;  // waits for the default stream, and the default stream for it
  std::deque<Entry> queue;
  std::uint64_t queued = 0, finished = 0;
  std::shared_ptr<Capture> capture;   // that this stream is part of
  std::vector<std::size_t> frontier;  // nodes of the capture after which the next one comes
};

// All streams of the process. Every function needs the lock of `mutex` unless it says otherwise.
struct Scheduler {
  std::mutex mutex;
  std::vector<std::shared_ptr<Stream>> defaults;  // one for each device
  std::vector<std::shared_ptr<Stream>> created;
  std::mt19937_64 random;
  bool late = false;        // a random schedule
  double eagerness = 0;     // the part of calls after which some work is done
  double disorder = 0;      // the part of forced work that is another stream's
  int num_collectives = 0;  // queued and not finished: another thread has to advance them

  // The stream of a handle: the default stream of the current device for 0. A mistake where there is none.
  std::shared_ptr<Stream> find(cudaStream_t handle);
  void submit(const std::shared_ptr<Stream>& stream, Step step);
  // The same, without the order that CUDA gives the default stream.
  void append(const std::shared_ptr<Stream>& stream, Step step, const Position& waits_for = {});
  // Executes what may be executed now (without a schedule: all of it; with one: perhaps a part).
  void run();
  // Executes one part of the work that `position` needs. Whether anything could be done.
  bool advance_towards(const Position& position);
  bool advance(const std::shared_ptr<Stream>& stream);
  bool advance_any();
  std::vector<std::shared_ptr<Stream>> all() const;
};

Scheduler& scheduler();
Position end_of(const std::shared_ptr<Stream>& stream);

// Let the host wait; without the lock. They return early where the device has failed.
void wait_for(const Position& position);
void wait_for_device(int device);

// What a call needs to know of a stream; takes the lock.
struct StreamState {
  std::shared_ptr<Stream> stream;
  bool capturing = false;
};
StreamState state_of(cudaStream_t handle);

}  // namespace maskedkd::null_device
