#include "watchdog_monitor.hpp"

#include "main_stack.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/host_name.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/comm/communicator.hpp"
#include "maskedkd/comm/mpi_session.hpp"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>

namespace maskedkd {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr double kSlowestTick_s = 0.5;
constexpr double kHungRankSpeaks_s = 1;  // before the first process ends, and the launcher kills the others
constexpr double kEndAnyway_s = 5;       // where standard error or a driver blocks

void sleep_for(double seconds) { std::this_thread::sleep_for(Seconds(seconds)); }

// Whether the thread of this process runs, or would if there were a processor for it. Time on a processor tells less:
// who polls and yields gets hardly any of it on a busy machine.
bool is_awake(int thread) {
  std::ifstream stat(fmt::format("/proc/self/task/{}/stat", thread));
  std::string line;
  std::getline(stat, line);
  const std::size_t name_ends = line.rfind(") ");  // a name may have anything in it
  return name_ends != std::string::npos && line[name_ends + 2] == 'R';
}

void end_anyway() {
  std::thread([] {
    sleep_for(kEndAnyway_s);
    std::_Exit(static_cast<int>(ExitCode::requeue));
  }).detach();
}

}  // namespace

Watchdog::Monitor::Monitor(const MpiSession& session, WatchdogOptions options)
    : session_(session),
      activity_(session.activity()),
      rank_(session.rank()),
      size_(session.size()),
      options_(std::move(options)),
      tick_s_(std::min(kSlowestTick_s, options_.timeout_s.value_or(kShortestTimeout_s) / 16)) {
  const bool local = session.local_size() == session.size();
  std::string invitation;
  if (rank_ == 0) {
    auto [listener, where] = listen_for_ranks(local);
    listener_ = std::move(listener);
    invitation = to_json(where);
  }
  invitation_ = parse_invitation(session.broadcast(invitation));
  const std::vector<std::string> hosts = session.all_gather(host_name());
  ranks_.resize(hosts.size());
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
    ranks_[rank].host = hosts[rank];
  }
  own_.link = boss_.link = RankLink::linked;
  own_.host = hosts[static_cast<std::size_t>(rank_)];
  boss_.host = hosts.front();
  boss_.doing = "nothing that it told";
  boss_timeout_s_ = options_.timeout_s.value_or(kShortestTimeout_s);
  main_thread_ = static_cast<int>(::gettid());
  make_main_stack_ready();
  // The main thread's signals stay its own.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  // Nobody goes on before all are watched: a rank 0 that stopped before it had answered would be missed by nobody.
  settled_.get_future().wait();
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
    session_.end_within(options_.on_hang ? 0 : options_.timeout_s.value_or(kShortestTimeout_s));
  }
}

void Watchdog::Monitor::watch(Communicator* communicator) {
  const std::lock_guard lock(communicator_mutex_);
  communicator_ = communicator;
}

void Watchdog::Monitor::run() {
  if (rank_ != 0) {
    connect();
  }
  settled_.set_value();
  auto before = Clock::now();
  while (!wait(tick_s_) && !ended_) {
    const auto now = Clock::now();
    // Not what passed while this process, or the machine, was stopped as a whole.
    const double passed_s = std::min(Seconds(now - before).count(), std::max(1.0, 2 * tick_s_));
    before = now;
    look_at_main(passed_s);
    if (rank_ == 0) {
      lead(passed_s);
    } else {
      follow(passed_s);
    }
  }
  if (!ended_) {
    say_goodbye();
  }
}

bool Watchdog::Monitor::wait(double seconds) {
  std::unique_lock lock(mutex_);
  return wake_.wait_for(lock, Seconds(seconds), [this] { return stopping_; });
}

void Watchdog::Monitor::look_at_main(double passed_s) {
  const Activity::State state = activity_.read();
  own_.stalled_s += passed_s;
  if (state.beats != beats_) {
    if (own_.pace == Activity::Pace::usual) {
      own_.longest_s = std::max(own_.longest_s, own_.stalled_s);
    }
    beats_ = state.beats;
    own_.stalled_s = 0;
    looks_ = looks_awake_ = 0;
  }
  ++looks_;
  looks_awake_ += is_awake(main_thread_) ? 1 : 0;
  own_.awake = static_cast<double>(looks_awake_) / looks_;
  own_.collectives = state.collectives;
  own_.waits = state.waits_in != nullptr;
  own_.pace = state.pace;
  own_.doing = state.text.empty() ? "nothing yet" : state.text;
  if (own_.waits) {
    own_.doing += fmt::format(", waits for the others in {}", state.waits_in);
  }
}

std::string Watchdog::Monitor::communicator_error() {
  const std::lock_guard lock(communicator_mutex_);
  return communicator_ != nullptr ? communicator_->async_error() : std::string();
}

// Whoever closes a link with something unread in it takes from the other what is still under way: so both read on.
void Watchdog::Monitor::say_goodbye() {
  std::vector<Link> links;
  if (rank_ == 0) {
    for (Socket socket = accept_one(listener_); socket.get() >= 0; socket = accept_one(listener_)) {
      peers_.push_back({Link(std::move(socket))});
    }
    for (Peer& peer : peers_) {
      peer.link.send(Frame::of(Frame::Kind::goodbye, 0, own_));
      links.push_back(std::move(peer.link));
    }
  } else if (link_) {
    report(Frame::Kind::goodbye);
    links.push_back(std::move(*link_));
  }
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

void Watchdog::Monitor::tell(const std::string& told) {
  told_ = told;
  if (!options_.on_hang) {
    end_anyway();
    spdlog::error("{}; the job ends with {}, to be started again", told, static_cast<int>(ExitCode::requeue));
  }
}

void Watchdog::Monitor::end(bool with_stack) {
  ended_ = true;
  if (options_.on_hang) {
    options_.on_hang(told_);
    return;
  }
  end_anyway();
  if (with_stack && !print_main_stack(rank_)) {
    spdlog::warn("the main thread does not answer: it is stuck in the kernel");
  }
  if (!with_stack || rank_ == 0) {
    sleep_for(kHungRankSpeaks_s);
  }
  {
    const std::lock_guard lock(communicator_mutex_);
    if (communicator_ != nullptr) {
      communicator_->abort();
    }
  }
  spdlog::default_logger_raw()->flush();
  std::_Exit(static_cast<int>(ExitCode::requeue));
}

}  // namespace maskedkd
