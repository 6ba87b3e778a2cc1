#include "watchdog_leader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace maskedkd {
namespace {

std::string failure_of(std::size_t rank, const RankState& state, const std::string& error) {
  return fmt::format("rank {} on host {}: {}", rank, state.host, error);
}

}  // namespace

WatchdogLeader::WatchdogLeader(Socket listener, std::string token, const std::vector<std::string>& hosts,
                               std::optional<double> given_timeout_s)
    : listener_(std::move(listener)),
      token_(std::move(token)),
      given_timeout_s_(given_timeout_s),
      ranks_(hosts.size()) {
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
    ranks_[rank].host = hosts[rank];
  }
}

void WatchdogLeader::accept_all() {
  for (Socket socket = accept_one(listener_); socket.get() >= 0; socket = accept_one(listener_)) {
    peers_.push_back({Link(std::move(socket))});
  }
}

std::optional<Hang> WatchdogLeader::find_hang(double passed_s, const RankState& own, const std::string& error) {
  for (RankState& state : ranks_) {
    state.silent_s += passed_s;
  }
  accept_all();
  std::optional<std::string> failure;
  for (Peer& peer : peers_) {
    for (const Frame& frame : peer.link.receive()) {
      if (auto reported = handle(peer, frame)) {
        failure = std::move(reported);
      }
    }
    if (peer.rank > 0 && peer.link.closed() && state_of(peer).link == RankLink::linked) {
      state_of(peer).link = RankLink::died;
      state_of(peer).silent_s = 0;
    }
  }
  std::erase_if(peers_, [](const Peer& peer) { return peer.link.closed(); });
  ranks_[0] = own;
  Frame answer = Frame::of(Frame::Kind::answer, 0, own);
  answer.timeout_s = hang_timeout_s(ranks_, given_timeout_s_);
  for (Peer& peer : peers_) {
    if (peer.rank > 0) {
      peer.link.send(answer);
    }
  }
  if (!error.empty()) {
    failure = failure_of(0, own, error);
  }
  return failure ? std::optional<Hang>({{}, *failure}) : maskedkd::find_hang(ranks_, given_timeout_s_);
}

std::optional<std::string> WatchdogLeader::handle(Peer& peer, const Frame& frame) {
  const bool is_of_this_job = std::strncmp(frame.token.data(), token_.c_str(), frame.token.size()) == 0;
  if (!is_of_this_job || frame.rank < 1 || frame.rank >= static_cast<int>(ranks_.size())) {
    return std::nullopt;
  }
  peer.rank = frame.rank;
  RankState& state = state_of(peer);
  const bool has_left = state.link == RankLink::left;
  state = frame.state();
  if (frame.kind == Frame::Kind::goodbye || has_left) {
    state.link = RankLink::left;
    peer.link.end_sending();
    return std::nullopt;
  }
  return frame.kind == Frame::Kind::failure
             ? std::optional(failure_of(static_cast<std::size_t>(peer.rank), state, state.doing))
             : std::nullopt;
}

void WatchdogLeader::send_end(const Hang& hang, const RankState& own) {
  for (Peer& peer : peers_) {
    if (peer.rank > 0) {
      peer.link.send(Frame::of(hang.is_hung(peer.rank) ? Frame::Kind::show_stack : Frame::Kind::end, 0, own));
    }
  }
}

std::vector<Link> WatchdogLeader::send_goodbye(const RankState& own) {
  accept_all();
  std::vector<Link> links;
  for (Peer& peer : peers_) {
    peer.link.send(Frame::of(Frame::Kind::goodbye, 0, own));
    links.push_back(std::move(peer.link));
  }
  peers_.clear();
  return links;
}

}  // namespace maskedkd
