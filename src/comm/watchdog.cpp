#include "maskedkd/comm/watchdog.hpp"

#include "hang_diagnosis.hpp"
#include "main_stack.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/host_name.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/comm/communicator.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "watchdog_link.hpp"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <regex>
#include <thread>

namespace maskedkd {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr double kSlowestTick_s = 0.5;
constexpr double kHungRankSpeaks_s = 1;  // before the first process ends, and the launcher kills the others
constexpr double kEndAnyway_s = 5;       // where standard error or a driver blocks
constexpr int kRounds = 3;               // of trying to reach rank 0

void sleep_for(double seconds) { std::this_thread::sleep_for(Seconds(seconds)); }

}  // namespace

std::optional<double> WatchdogOptions::parse_timeout(const std::string& text) {
  if (text == "auto") {
    return std::nullopt;
  }
  if (!std::regex_match(text, std::regex(R"(\d{1,7}(\.\d{1,3})?)"))) {
    throw usage_error(fmt::format("--hang-timeout: '{}' is no time", text), "give auto, or seconds; 0: off");
  }
  return std::stod(text);
}

void WatchdogOptions::validate() const {
  if (timeout_s && *timeout_s != 0 && *timeout_s < 1) {
    throw usage_error(fmt::format("--hang-timeout {} is less than a second", *timeout_s),
                      "give auto, or seconds; 0: off");
  }
}

class Watchdog::Monitor {
 public:
  Monitor(const MpiSession& session, WatchdogOptions options)
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
    ranks_.resize(static_cast<std::size_t>(size_));
    own_.link = RankLink::linked;
    own_.host = host_name();
    pthread_getcpuclockid(pthread_self(), &main_clock_);
    make_main_stack_ready();
    // The main thread's signals stay its own.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void stop() noexcept {
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

  void watch(Communicator* communicator) {
    const std::lock_guard lock(communicator_mutex_);
    communicator_ = communicator;
  }

 private:
  struct Peer {
    Link link;
    int rank = -1;  // not known yet
  };

  void run() {
    if (rank_ != 0) {
      connect();
    }
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

  bool wait(double seconds) {
    std::unique_lock lock(mutex_);
    return wake_.wait_for(lock, Seconds(seconds), [this] { return stopping_; });
  }

  void look_at_main(double passed_s) {
    const Activity::State state = activity_.read();
    timespec used{};
    clock_gettime(main_clock_, &used);
    const double cpu_s = static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
    own_.stalled_s += passed_s;
    if (state.beats != beats_) {
      if (own_.pace == Activity::Pace::usual) {
        own_.longest_s = std::max(own_.longest_s, own_.stalled_s);
      }
      beats_ = state.beats;
      own_.stalled_s = 0;
      cpu_at_beat_s_ = cpu_s;
    }
    own_.cpu_s = cpu_s - cpu_at_beat_s_;
    own_.collectives = state.collectives;
    own_.waits = state.waits_in != nullptr;
    own_.pace = state.pace;
    own_.doing = state.text.empty() ? "nothing yet" : state.text;
    if (own_.waits) {
      own_.doing += fmt::format(", waits for the others in {}", state.waits_in);
    }
  }

  std::string communicator_error() {
    const std::lock_guard lock(communicator_mutex_);
    return communicator_ != nullptr ? communicator_->async_error() : std::string();
  }
  std::string failure_of(int rank, const RankState& state, const std::string& error) const {
    return fmt::format("rank {} on host {}: {}", rank, state.host, error);
  }

  // Rank 0.
  void lead(double passed_s) {
    for (RankState& state : ranks_) {
      state.silent_s += passed_s;
    }
    for (Socket socket = accept_one(listener_); socket.get() >= 0; socket = accept_one(listener_)) {
      peers_.push_back({Link(std::move(socket))});
    }
    std::string failure;
    for (Peer& peer : peers_) {
      for (const Frame& frame : peer.link.receive()) {
        hear(peer, frame, failure);
      }
      if (peer.rank > 0 && peer.link.closed() && state_of(peer).link == RankLink::linked) {
        state_of(peer).link = RankLink::died;
        state_of(peer).silent_s = 0;
      }
    }
    std::erase_if(peers_, [](const Peer& peer) { return peer.link.closed(); });
    own_.silent_s = 0;
    ranks_[0] = own_;
    Frame answer = Frame::of(Frame::Kind::answer, 0, own_);
    answer.timeout_s = hang_timeout_s(ranks_, options_.timeout_s);
    for (Peer& peer : peers_) {
      if (peer.rank > 0) {
        peer.link.send(answer);
      }
    }
    if (const std::string error = communicator_error(); !error.empty()) {
      failure = failure_of(0, own_, error);
    }
    if (!failure.empty()) {
      end_all({{}, failure});
    } else if (const auto hang = find_hang(ranks_, options_.timeout_s)) {
      end_all(*hang);
    }
  }

  RankState& state_of(const Peer& peer) { return ranks_[static_cast<std::size_t>(peer.rank)]; }

  void hear(Peer& peer, const Frame& frame, std::string& failure) {
    const bool is_ours = std::strncmp(frame.token.data(), invitation_.token.c_str(), frame.token.size()) == 0;
    if (!is_ours || frame.rank < 1 || frame.rank >= size_) {
      return;
    }
    peer.rank = frame.rank;
    const bool is_left = state_of(peer).link == RankLink::left;
    state_of(peer) = frame.state();
    if (frame.kind == Frame::Kind::goodbye || is_left) {
      state_of(peer).link = RankLink::left;
      peer.link.end_sending();
    } else if (frame.kind == Frame::Kind::failure) {
      failure = failure_of(peer.rank, state_of(peer), state_of(peer).doing);
    }
  }

  // The hung ones speak, then all end.
  void end_all(const Hang& hang) {
    tell(hang.told);
    const auto is_culprit = [&](int rank) {
      return std::find(hang.culprits.begin(), hang.culprits.end(), rank) != hang.culprits.end();
    };
    for (Peer& peer : peers_) {
      if (peer.rank > 0) {
        peer.link.send(Frame::of(is_culprit(peer.rank) ? Frame::Kind::show_stack : Frame::Kind::end, 0, own_));
      }
    }
    end(is_culprit(0));
  }

  // The other ranks.
  void follow(double passed_s) {
    if (link_) {
      const std::string error = communicator_error();
      boss_.silent_s += passed_s;
      for (const Frame& frame : link_->receive()) {
        if (frame.kind == Frame::Kind::end || frame.kind == Frame::Kind::show_stack) {
          return end(frame.kind == Frame::Kind::show_stack);
        }
        boss_ = frame.state();
        boss_timeout_s_ = frame.timeout_s > 0 ? frame.timeout_s : boss_timeout_s_;
        if (frame.kind == Frame::Kind::goodbye) {
          link_.reset();
          return;
        }
      }
      if (link_->closed() && boss_.link == RankLink::linked) {
        boss_.link = RankLink::died;
        boss_.silent_s = 0;
      }
      report(error.empty() ? Frame::Kind::report : Frame::Kind::failure, error);
      if (!error.empty()) {
        sleep_for(2 * tick_s_);  // rank 0 names it
        return end(false);
      }
      boss_.waits = true;  // its main thread is its own monitor's business
      boss_.stalled_s = 0;
      if (const auto hang = find_hang({&boss_, 1}, boss_timeout_s_)) {
        // One is to say it, not all of hundreds: the launcher ends the job meanwhile.
        sleep_for(0.5 * (std::bit_width(static_cast<unsigned>(rank_)) - 1));
        tell(hang->told);
        end(false);
      }
      return;
    }
    if (own_.waits) {
      return;
    }
    // As if it were the only one.
    if (const auto hang = find_hang({&own_, 1}, options_.timeout_s)) {
      tell(fmt::format("this rank{}", hang->told.substr(hang->told.find(" on host"))));
      end(true);
    }
  }

  void report(Frame::Kind kind, const std::string& error = {}) {
    RankState state = own_;
    if (!error.empty()) {
      state.doing = error;
    }
    Frame frame = Frame::of(kind, rank_, state);
    std::copy_n(invitation_.token.begin(), std::min(invitation_.token.size(), frame.token.size() - 1),
                frame.token.begin());
    link_->send(frame);
  }

  void connect() {
    std::vector<std::string> addresses = invitation_.addresses;
    if (invitation_.host == own_.host) {
      addresses.insert(addresses.begin(), "127.0.0.1");
    }
    for (int round = 0; round < kRounds; ++round) {
      for (const std::string& address : addresses) {
        Socket socket = connect_to(address, invitation_.port, 2);
        if (socket.get() < 0) {
          continue;
        }
        link_.emplace(std::move(socket));
        look_at_main(0);
        report(Frame::Kind::report);
        for (const auto since = Clock::now(); Clock::now() - since < Seconds(3) && !link_->closed();) {
          for (const Frame& frame : link_->receive()) {
            boss_ = frame.state();
            boss_timeout_s_ = frame.timeout_s > 0 ? frame.timeout_s : kShortestTimeout_s;
            if (frame.kind == Frame::Kind::goodbye) {
              link_.reset();
            }
            return;
          }
          if (wait(0.02)) {
            return;
          }
        }
        link_.reset();
      }
      if (wait(0.2)) {
        return;
      }
    }
    spdlog::warn("the watchdog of rank 0 on host {} can't be reached at {}, port {}: this rank watches itself only",
                 invitation_.host, fmt::join(addresses, ", "), invitation_.port);
  }

  // Whoever closes a link with something unread in it takes from the other what is still under way: so both read on.
  void say_goodbye() {
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

  void tell(const std::string& told) {
    told_ = told;
    if (!options_.on_hang) {
      end_anyway();
      spdlog::error("{}; the job ends with {}, to be started again", told, static_cast<int>(ExitCode::requeue));
    }
  }

  static void end_anyway() {
    std::thread([] {
      sleep_for(kEndAnyway_s);
      std::_Exit(static_cast<int>(ExitCode::requeue));
    }).detach();
  }

  void end(bool with_stack) {
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

  const MpiSession& session_;
  const Activity& activity_;
  const int rank_, size_;
  const WatchdogOptions options_;
  const double tick_s_;
  Invitation invitation_;
  clockid_t main_clock_{};

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::mutex communicator_mutex_;
  Communicator* communicator_ = nullptr;

  // The thread's.
  RankState own_;
  std::uint64_t beats_ = 0;
  double cpu_at_beat_s_ = 0;
  Socket listener_;               // rank 0's
  std::vector<Peer> peers_;       // rank 0's
  std::vector<RankState> ranks_;  // rank 0's
  std::optional<Link> link_;      // to rank 0
  RankState boss_;                // rank 0
  double boss_timeout_s_ = kShortestTimeout_s;
  std::string told_;
  bool ended_ = false;
  std::thread thread_;
};

Watchdog::Watchdog(const MpiSession& session, WatchdogOptions options) {
  options.validate();
  if (options.timeout_s != 0.0) {
    monitor_ = std::make_shared<Monitor>(session, std::move(options));
  }
}

Watchdog::~Watchdog() { stop(); }

void Watchdog::stop() noexcept {
  if (monitor_) {
    monitor_->stop();
  }
}

Watchdog::Watched Watchdog::watch(Communicator& communicator) {
  Watched watched;
  if (monitor_) {
    monitor_->watch(&communicator);
    watched.forget_ = [monitor = monitor_] { monitor->watch(nullptr); };
  }
  return watched;
}

Watchdog::Watched::Watched(Watched&& other) noexcept : forget_(std::exchange(other.forget_, nullptr)) {}

Watchdog::Watched& Watchdog::Watched::operator=(Watched&& other) noexcept {
  std::swap(forget_, other.forget_);
  return *this;
}

Watchdog::Watched::~Watched() {
  if (forget_) {
    forget_();
  }
}

}  // namespace maskedkd
