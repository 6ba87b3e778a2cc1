// Threads that work until there is no more to do, while the thread that made them looks on. They end with the object,
// whatever was thrown in between.
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
  // do_next: does a piece of work and says whether there may be more; called by all of them at once. A long piece looks
  // at `stop` now and then. Throws Error, naming --threads, where so many can't be started.
  WorkerThreads(int num_threads, std::function<bool(const std::atomic<bool>& stop)> do_next);
  WorkerThreads(const WorkerThreads&) = delete;
  WorkerThreads& operator=(const WorkerThreads&) = delete;
  ~WorkerThreads();  // has them stop, and waits for it

  // Whether all have ended, waited for no longer than `patience`. Throws what the first of them threw, which stops the
  // others.
  bool wait(std::chrono::milliseconds patience);

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
