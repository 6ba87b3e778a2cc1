#include "preprocess/worker_threads.hpp"

#include "maskedkd/base/error.hpp"

#include <system_error>
#include <utility>

namespace maskedkd {

WorkerThreads::WorkerThreads(int num_threads, std::function<bool(const std::atomic<bool>&)> do_next)
    : do_next_(std::move(do_next)), running_(num_threads) {
  try {
    for (int i = 0; i < num_threads; ++i) {
      threads_.emplace_back([this] { work(); });
    }
  } catch (const std::system_error& error) {
    const std::size_t started = threads_.size();
    stop_and_join();
    throw Error(fmt::format("of {} threads only {} could be started: {}", num_threads, started, error.code().message()),
                "give a smaller --threads");
  } catch (...) {
    stop_and_join();
    throw;
  }
}

WorkerThreads::~WorkerThreads() { stop_and_join(); }

void WorkerThreads::stop_and_join() noexcept {
  stop_ = true;
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

bool WorkerThreads::wait(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  ended_.wait_for(lock, timeout, [&] { return running_ == 0 || failure_ != nullptr; });
  if (failure_ != nullptr) {
    std::rethrow_exception(failure_);
  }
  return running_ == 0;
}

void WorkerThreads::work() {
  std::exception_ptr failure;
  try {
    while (!stop_ && do_next_(stop_)) {
    }
  } catch (...) {
    failure = std::current_exception();
    stop_ = true;
  }
  const std::lock_guard lock(mutex_);
  failure_ = failure_ != nullptr ? failure_ : failure;
  --running_;
  ended_.notify_all();
}

}  // namespace maskedkd
