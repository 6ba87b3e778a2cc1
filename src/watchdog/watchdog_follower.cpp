#include "watchdog_follower.hpp"

#include "maskedkd/base/log.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <utility>

namespace maskedkd {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxRounds = 3;  // attempts to reach rank 0
constexpr std::chrono::seconds kAnswerTimeout{3};
constexpr double kTimeForRank0ToLog_s = 1;  // a failure that this rank has sent to it

}  // namespace

WatchdogFollower::WatchdogFollower(LeaderAddress leader_address, int rank, const std::string& host_of_rank_0,
                                   std::optional<double> given_timeout_s)
    : leader_address_(std::move(leader_address)),
      rank_(rank),
      given_timeout_s_(given_timeout_s),
      timeout_s_(given_timeout_s.value_or(kShortestTimeout_s)) {
  rank_0_.link = RankLink::linked;
  rank_0_.host = host_of_rank_0;
  rank_0_.doing = "unknown (it never reported)";
}

void WatchdogFollower::connect(const RankState& own, const std::function<bool(double seconds)>& wait) {
  std::vector<std::string> addresses = leader_address_.addresses;
  if (leader_address_.host == own.host) {
    addresses.insert(addresses.begin(), "127.0.0.1");
  }
  std::optional<Link> unanswered;
  for (int round = 0; round < kMaxRounds && !unanswered; ++round) {
    for (const std::string& address : addresses) {
      Socket socket = connect_to(address, leader_address_.port, 2);
      if (socket.get() < 0) {
        continue;
      }
      link_.emplace(std::move(socket));
      report(Frame::Kind::report, own);
      if (wait_for_answer(wait)) {
        return;
      }
      if (!link_->closed() && !unanswered) {
        unanswered = std::move(link_);
      }
      link_.reset();
    }
    if (wait(0.2)) {
      return;
    }
  }
  if (unanswered) {  // its machine has accepted the connection, but rank 0 may have been stopped since
    link_ = std::move(unanswered);
    return;
  }
  spdlog::warn("this rank only watches itself: rank 0's watchdog can't be reached at {} ({}), port {}",
               fmt::join(addresses, ", "), leader_address_.host, leader_address_.port);
}

bool WatchdogFollower::wait_for_answer(const std::function<bool(double seconds)>& wait) {
  for (const auto since = Clock::now(); Clock::now() - since < kAnswerTimeout && !link_->closed();) {
    for (const Frame& frame : link_->receive()) {
      rank_0_ = frame.state();
      timeout_s_ = frame.timeout_s > 0 ? frame.timeout_s : kShortestTimeout_s;
      if (frame.kind == Frame::Kind::goodbye) {
        link_.reset();
      }
      return true;
    }
    if (wait(0.02)) {
      return true;
    }
  }
  return false;
}

std::optional<WatchdogFollower::Ending> WatchdogFollower::follow(double passed_s, const RankState& own,
                                                                 const std::string& error) {
  return link_ ? follow_rank_0(passed_s, own, error) : follow_alone(own);
}

std::optional<WatchdogFollower::Ending> WatchdogFollower::follow_rank_0(double passed_s, const RankState& own,
                                                                        const std::string& error) {
  rank_0_.silent_s += passed_s;
  for (const Frame& frame : link_->receive()) {
    if (frame.kind == Frame::Kind::end || frame.kind == Frame::Kind::show_stack) {
      return Ending{"", frame.kind == Frame::Kind::show_stack, 0};
    }
    rank_0_ = frame.state();
    timeout_s_ = frame.timeout_s > 0 ? frame.timeout_s : timeout_s_;
    if (frame.kind == Frame::Kind::goodbye) {
      link_.reset();
      return std::nullopt;
    }
  }
  if (link_->closed() && rank_0_.link == RankLink::linked) {
    rank_0_.link = RankLink::died;
    rank_0_.silent_s = 0;
  }
  RankState state = own;
  if (!error.empty()) {
    state.doing = error;
    report(Frame::Kind::failure, std::move(state));
    return Ending{"", false, kTimeForRank0ToLog_s};
  }
  report(Frame::Kind::report, std::move(state));
  rank_0_.waits = true;  // its main thread is watched by its own watchdog
  rank_0_.stalled_s = 0;
  if (const auto hang = find_hang({&rank_0_, 1}, timeout_s_)) {
    // The delay lets one rank log it, not hundreds: the launcher ends the job meanwhile.
    return Ending{hang->description, false, 0.5 * (std::bit_width(static_cast<unsigned>(rank_)) - 1)};
  }
  return std::nullopt;
}

// Judges this rank as if it were the only one.
std::optional<WatchdogFollower::Ending> WatchdogFollower::follow_alone(const RankState& own) const {
  const auto hang = own.waits ? std::nullopt : find_hang({&own, 1}, given_timeout_s_);
  return hang ? std::optional(Ending{
                    fmt::format("this rank{}", hang->description.substr(hang->description.find(" on host"))), true, 0})
              : std::nullopt;
}

std::vector<Link> WatchdogFollower::send_goodbye(const RankState& own) {
  std::vector<Link> links;
  if (link_) {
    report(Frame::Kind::goodbye, own);
    links.push_back(std::move(*link_));
    link_.reset();
  }
  return links;
}

void WatchdogFollower::report(Frame::Kind kind, RankState state) {
  Frame frame = Frame::of(kind, rank_, state);
  std::copy_n(leader_address_.token.begin(), std::min(leader_address_.token.size(), frame.token.size() - 1),
              frame.token.begin());
  link_->send(frame);
}

}  // namespace maskedkd
