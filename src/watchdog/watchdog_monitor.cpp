#include "watchdog_monitor.hpp"

#include "main_stack.hpp"
#include "maskedkd/base/host_name.hpp"
#include "maskedkd/comm/mpi_session.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace maskedkd {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr double kSlowestTick_s = 0.5;

void sleep_for(double seconds) { std::this_thread::sleep_for(Seconds(seconds)); }

}  // namespace

Watchdog::Monitor::Monitor(const MpiSession& session, WatchdogOptions options)
    : session_(session),
      options_(std::move(options)),
      tick_s_(std::min(kSlowestTick_s, options_.timeout_s.value_or(kShortestTimeout_s) / 16)),
      main_(session.activity(), host_name()),
      ender_(session.activity(), session.rank(), options_.on_hang) {
  Socket listener;
  std::string leader_address;
  if (session.rank() == 0) {
    auto [socket, where] = listen_for_ranks(/*local=*/session.local_size() == session.size());
    listener = std::move(socket);
    leader_address = to_json(where);
  }
  LeaderAddress where = parse_leader_address(session.broadcast(leader_address));
  const std::vector<std::string> hosts = session.all_gather(host_name());
  if (session.rank() == 0) {
    leader_.emplace(std::move(listener), where.token, hosts, options_.timeout_s);
  } else {
    follower_.emplace(std::move(where), session.rank(), hosts.front(), options_.timeout_s);
  }
  prepare_main_stack();
  // The new thread blocks all signals, which are for the main thread.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  // No rank continues before all are watched: a rank 0 that stopped before it had answered would not be noticed.
  connect_done_.get_future().wait();
  session.barrier();
}

void Watchdog::Monitor::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) {
    thread_.join();
    session_.set_finalize_timeout(options_.on_hang ? 0 : options_.timeout_s.value_or(kShortestTimeout_s));
  }
}

void Watchdog::Monitor::run() {
  if (follower_) {
    main_.look(0);
    follower_->connect(main_.state(), [this](double seconds) { return wait(seconds); });
  }
  connect_done_.set_value();
  auto before = Clock::now();
  while (!wait(tick_s_)) {
    const auto now = Clock::now();
    // Without the time in which this process, or the machine, was stopped as a whole.
    const double passed_s = std::min(Seconds(now - before).count(), std::max(1.0, 2 * tick_s_));
    before = now;
    main_.look(passed_s);
    if (leader_ ? lead(passed_s) : follow(passed_s)) {
      return;
    }
  }
  send_goodbye();
}

bool Watchdog::Monitor::wait(double seconds) {
  std::unique_lock lock(mutex_);
  return wake_.wait_for(lock, Seconds(seconds), [this] { return stopping_; });
}

bool Watchdog::Monitor::lead(double passed_s) {
  const std::optional<Hang> hang = leader_->find_hang(passed_s, main_.state(), ender_.communicator_error());
  if (!hang) {
    return false;
  }
  ender_.report(hang->description);
  leader_->send_end(*hang, main_.state());
  ender_.end(/*with_stack=*/hang->is_hung(0));
  return true;
}

bool Watchdog::Monitor::follow(double passed_s) {
  const auto ending = follower_->follow(passed_s, main_.state(), ender_.communicator_error());
  if (!ending) {
    return false;
  }
  sleep_for(ending->delay_s);
  if (!ending->report.empty()) {
    ender_.report(ending->report);
  }
  ender_.end(ending->shows_stack);
  return true;
}

// Closing a connection with unread data discards what is still on its way to the other side, so both sides read on.
void Watchdog::Monitor::send_goodbye() {
  std::vector<Link> links = leader_ ? leader_->send_goodbye(main_.state()) : follower_->send_goodbye(main_.state());
  for (Link& link : links) {
    link.end_sending();
  }
  for (const auto since = Clock::now(); Clock::now() - since < Seconds(1) && !links.empty();) {
    std::erase_if(links, [](Link& link) {
      link.receive();
      return link.closed();
    });
    sleep_for(links.empty() ? 0 : 0.01);
  }
}

}  // namespace maskedkd
