#include "watchdog_link.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/host_name.hpp"

#include <nlohmann/json.hpp>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <type_traits>

namespace maskedkd {
namespace {

static_assert(std::is_trivially_copyable_v<Frame>);

template <std::size_t N>
void copy_text(std::array<char, N>& field, const std::string& text) {
  std::copy_n(text.begin(), std::min(text.size(), N - 1), field.begin());
}

template <std::size_t N>
std::string text_of(const std::array<char, N>& field) {
  return {field.begin(), std::find(field.begin(), field.end(), '\0')};
}

sockaddr_in socket_address(const std::string& address, int port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(static_cast<std::uint16_t>(port));
  inet_pton(AF_INET, address.c_str(), &result.sin_addr);
  return result;
}

std::string random_token() {
  std::random_device random;
  std::string token;
  for (int word = 0; word < 4; ++word) {
    token += fmt::format("{:08x}", random());
  }
  return token;
}

std::vector<std::string> own_addresses() {
  std::vector<std::string> addresses;
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) {
    return addresses;
  }
  for (const ifaddrs* one = first; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr != nullptr && one->ifa_addr->sa_family == AF_INET && (one->ifa_flags & IFF_UP) != 0 &&
        (one->ifa_flags & IFF_LOOPBACK) == 0) {
      std::array<char, INET_ADDRSTRLEN> text{};
      inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr, text.data(), text.size());
      addresses.emplace_back(text.data());
    }
  }
  freeifaddrs(first);
  return addresses;
}

}  // namespace

Frame Frame::of(Kind kind, int rank, const RankState& state) {
  Frame frame;
  frame.kind = kind;
  frame.rank = rank;
  frame.stalled_s = state.stalled_s;
  frame.awake = state.awake;
  frame.longest_s = state.longest_s;
  frame.collectives = state.collectives;
  frame.waits = state.waits ? 1 : 0;
  frame.is_slow = state.pace == Activity::Pace::slow ? 1 : 0;
  copy_text(frame.host, state.host);
  copy_text(frame.doing, state.doing);
  return frame;
}

RankState Frame::state() const {
  RankState state;
  state.link = RankLink::linked;
  state.host = text_of(host);
  state.stalled_s = stalled_s;
  state.awake = awake;
  state.longest_s = longest_s;
  state.collectives = collectives;
  state.waits = waits != 0;
  state.pace = is_slow != 0 ? Activity::Pace::slow : Activity::Pace::usual;
  state.doing = text_of(doing);
  return state;
}

Socket::~Socket() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

void Link::send(const Frame& frame) {
  flush();
  const bool can_be_left_out = frame.kind == Frame::Kind::report || frame.kind == Frame::Kind::answer;
  if (out_.empty() || !can_be_left_out) {
    out_.append(reinterpret_cast<const char*>(&frame), sizeof frame);
    flush();
  }
}

void Link::flush() {
  while (!out_.empty() && !closed_) {
    const ssize_t count = ::send(socket_.get(), out_.data(), out_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count > 0) {
      out_.erase(0, static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      // The other side's last frames may still be unread: receive() finds the end.
      return;
    }
  }
}

std::vector<Frame> Link::receive() {
  std::array<char, 4096> piece;
  for (;;) {
    const ssize_t count = ::recv(socket_.get(), piece.data(), piece.size(), MSG_DONTWAIT);
    if (count > 0) {
      in_.append(piece.data(), static_cast<std::size_t>(count));
    } else if (count == 0 || (errno != EINTR && errno != EAGAIN)) {
      closed_ = true;
      break;
    } else if (errno == EAGAIN) {
      break;
    }
  }
  std::vector<Frame> frames;
  std::size_t taken = 0;
  for (; in_.size() - taken >= sizeof(Frame); taken += sizeof(Frame)) {
    std::memcpy(&frames.emplace_back(), in_.data() + taken, sizeof(Frame));
  }
  in_.erase(0, taken);
  return frames;
}

void Link::end_sending() { ::shutdown(socket_.get(), SHUT_WR); }

std::string to_json(const LeaderAddress& address) {
  return nlohmann::json{
      {"host", address.host}, {"token", address.token}, {"port", address.port}, {"addresses", address.addresses}}
      .dump();
}

LeaderAddress parse_leader_address(const std::string& text) {
  const auto json = nlohmann::json::parse(text);
  return {json.at("host"), json.at("token"), json.at("port"), json.at("addresses")};
}

std::pair<Socket, LeaderAddress> listen_for_ranks(bool local) {
  LeaderAddress leader_address = {host_name(), random_token(), 0, {}};
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in address = socket_address(local ? "127.0.0.1" : "0.0.0.0", 0);
  socklen_t length = sizeof address;
  if (socket.get() < 0 || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), SOMAXCONN) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    throw Error(fmt::format("the watchdog can't listen: {}", std::strerror(errno)), "--hang-timeout 0 runs without it");
  }
  leader_address.port = ntohs(address.sin_port);
  if (!local) {
    leader_address.addresses = own_addresses();
  }
  return {std::move(socket), std::move(leader_address)};
}

Socket accept_one(const Socket& listener) {
  return Socket(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

Socket connect_to(const std::string& address, int port, double seconds) {
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const sockaddr_in place = socket_address(address, port);
  if (socket.get() < 0) {
    return Socket();
  }
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&place), sizeof place) != 0) {
    pollfd writable = {socket.get(), POLLOUT, 0};
    int error = 0;
    socklen_t length = sizeof error;
    if (errno != EINPROGRESS || ::poll(&writable, 1, static_cast<int>(1000 * seconds)) != 1 ||
        ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) {
      return Socket();
    }
  }
  return socket;
}

}  // namespace maskedkd
