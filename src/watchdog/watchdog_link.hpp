// The messages between the watchdog's threads: frames of one size over TCP, sent and received without blocking.
#pragma once

#include "hang_diagnosis.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace maskedkd {

struct Frame {
  // report: what a rank does. failure: an error of its communicator, in `doing`. goodbye: the sender ends normally.
  // answer: the state of rank 0. end, show_stack: rank 0 asks the process to end. Frames to rank 0 contain the token.
  enum class Kind : std::uint32_t { report, failure, goodbye, answer, end, show_stack };
  Kind kind = Kind::report;
  std::int32_t rank = 0;
  double timeout_s = 0;  // of an answer: what counts as a hang now
  double stalled_s = 0;
  double awake = 0;
  double longest_s = 0;
  std::uint64_t collectives = 0;
  std::uint32_t waits = 0;
  std::uint32_t is_slow = 0;
  std::array<char, 40> token{};
  std::array<char, 64> host{};
  std::array<char, 168> doing{};

  static Frame of(Kind kind, int rank, const RankState& state);
  RankState state() const;  // of a linked rank that has just reported
};

class Socket {
 public:
  explicit Socket(int descriptor = -1) noexcept : descriptor_(descriptor) {}
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket();
  int get() const noexcept { return descriptor_; }

 private:
  int descriptor_;
};

class Link {
 public:
  explicit Link(Socket socket) : socket_(std::move(socket)) {}  // connected, non-blocking
  // What can't be sent yet waits for the next call; a report or an answer is skipped while other frames wait.
  void send(const Frame& frame);
  std::vector<Frame> receive();            // all that have arrived
  bool closed() const { return closed_; }  // by the other side, or broken
  void end_sending();

 private:
  void flush();
  Socket socket_;
  std::string in_, out_;
  bool closed_ = false;
};

// Where rank 0 listens for the other ranks.
struct LeaderAddress {
  std::string host;
  std::string token;  // proves that a connection is from a rank of this job
  int port = 0;
  std::vector<std::string> addresses;  // IPv4
};
std::string to_json(const LeaderAddress& address);
LeaderAddress parse_leader_address(const std::string& text);

// local: only ranks of this node connect. Throws Error.
std::pair<Socket, LeaderAddress> listen_for_ranks(bool local);
Socket accept_one(const Socket& listener);  // without a descriptor where no connection is pending
// Tries for at most `seconds`; without a descriptor where that fails.
Socket connect_to(const std::string& address, int port, double seconds);

}  // namespace maskedkd
