#include "job_ender.hpp"

#include "main_stack.hpp"
#include "maskedkd/base/activity.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/comm/communicator.hpp"

#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

namespace maskedkd {
namespace {

constexpr std::chrono::seconds kTimeToPrintStack{
    1};                                              // before the first process ends, and the launcher kills the others
constexpr std::chrono::seconds kForcedExitDelay{5};  // in case standard error or a driver blocks

void force_exit_later() {
  std::thread([] {
    std::this_thread::sleep_for(kForcedExitDelay);
    std::_Exit(static_cast<int>(ExitCode::requeue));
  }).detach();
}

}  // namespace

JobEnder::JobEnder(const Activity& activity, int rank, std::function<void(const std::string&)> on_hang)
    : activity_(activity), rank_(rank), on_hang_(std::move(on_hang)) {}

void JobEnder::watch(Communicator* communicator) {
  const std::lock_guard lock(mutex_);
  communicator_ = communicator;
}

std::string JobEnder::communicator_error() {
  const std::lock_guard lock(mutex_);
  return communicator_ != nullptr ? communicator_->async_error() : std::string();
}

void JobEnder::report(const std::string& what) {
  reported_ = what;
  if (!on_hang_) {
    force_exit_later();
    spdlog::error("{}; the job ends with exit code {}, to be started again", what, static_cast<int>(ExitCode::requeue));
  }
}

void JobEnder::end(bool with_stack) {
  if (on_hang_) {
    on_hang_(reported_);
    return;
  }
  force_exit_later();
  if (with_stack && !print_main_stack(rank_)) {
    spdlog::warn("the main thread does not respond: it is stuck in the kernel");
  }
  if (!with_stack || rank_ == 0) {
    std::this_thread::sleep_for(kTimeToPrintStack);
  }
  activity_.end();
  {
    const std::lock_guard lock(mutex_);
    if (communicator_ != nullptr) {
      communicator_->abort();
    }
  }
  spdlog::default_logger_raw()->flush();
  std::_Exit(static_cast<int>(ExitCode::requeue));
}

}  // namespace maskedkd
