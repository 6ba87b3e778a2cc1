// Threads that work until nothing is left to do, while the thread that created them can watch. They are stopped and
// joined when the object is destroyed, also by an exception.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace maskedkd {

class WorkerThreads {
 public:
  // do_next: does a piece of work and returns whether there may be more; called concurrently by all threads. During a
  // long piece it checks `stop` and returns early. Throws Error that names --threads where so many can't be started.
  WorkerThreads(int num_threads, std::function<bool(const std::atomic<bool>& stop)> do_next);
  WorkerThreads(const WorkerThreads&) = delete;
  WorkerThreads& operator=(const WorkerThreads&) = delete;
  ~WorkerThreads();  // stops the threads and waits for them

  // Waits until all have ended, no longer than `timeout`, and returns whether they have. Throws the first exception of
  // a thread, which also stops the others.
  bool wait(std::chrono::milliseconds timeout);

 private:
  void work();
  void stop_and_join() noexcept;

  std::function<bool(const std::atomic<bool>&)> do_next_;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;
  std::condition_variable ended_;
  int running_ = 0;
  std::exception_ptr failure_;
  std::vector<std::thread> threads_;
};

}  // namespace maskedkd
