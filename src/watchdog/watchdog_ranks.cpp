#include "maskedkd/base/log.hpp"
#include "watchdog_monitor.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>

namespace maskedkd {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr int kRounds = 3;  // of trying to reach rank 0

void sleep_for(double seconds) { std::this_thread::sleep_for(Seconds(seconds)); }

std::string failure_of(int rank, const RankState& state, const std::string& error) {
  return fmt::format("rank {} on host {}: {}", rank, state.host, error);
}

}  // namespace

void Watchdog::Monitor::lead(double passed_s) {
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

void Watchdog::Monitor::hear(Peer& peer, const Frame& frame, std::string& failure) {
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
void Watchdog::Monitor::end_all(const Hang& hang) {
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

void Watchdog::Monitor::connect() {
  std::vector<std::string> addresses = invitation_.addresses;
  if (invitation_.host == own_.host) {
    addresses.insert(addresses.begin(), "127.0.0.1");
  }
  std::optional<Link> silent;
  for (int round = 0; round < kRounds && !silent; ++round) {
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
      if (!link_->closed() && !silent) {
        silent = std::move(link_);
      }
      link_.reset();
    }
    if (wait(0.2)) {
      return;
    }
  }
  if (silent) {  // its machine has taken the link, but rank 0 may be stopped since
    link_ = std::move(silent);
    return;
  }
  spdlog::warn("this rank watches itself only: rank 0's watchdog can't be reached at {} ({}), port {}",
               fmt::join(addresses, ", "), invitation_.host, invitation_.port);
}

void Watchdog::Monitor::follow(double passed_s) {
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

void Watchdog::Monitor::report(Frame::Kind kind, const std::string& error) {
  RankState state = own_;
  if (!error.empty()) {
    state.doing = error;
  }
  Frame frame = Frame::of(kind, rank_, state);
  std::copy_n(invitation_.token.begin(), std::min(invitation_.token.size(), frame.token.size() - 1),
              frame.token.begin());
  link_->send(frame);
}

}  // namespace maskedkd
