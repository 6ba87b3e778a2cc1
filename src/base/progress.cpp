#include "maskedkd/base/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace maskedkd {
namespace {

using Clock = RunningClock;
constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr auto kPlainLine = std::chrono::seconds(30);
constexpr int kBarCells = 24;

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds + 0.5);
  if (whole >= 3600) {
    return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  }
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

int terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 100;
}

}  // namespace

Progress::Progress(std::string title, std::string unit, std::int64_t total, bool shown)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      total_(total),
      shown_(shown),
      terminal_(isatty(STDERR_FILENO) == 1),
      started_(Clock::now()),
      last_drawn_(terminal_ ? started_ - kRedraw : started_) {}

Progress::~Progress() {
  if (shown_ && terminal_ && drawn_) {
    std::fputs("\r\033[K", stderr);
  }
}

void Progress::update(std::int64_t done, const std::string& detail) {
  if (first_done_ < 0) {
    first_done_ = done;
    started_ = Clock::now();
  }
  const auto now = Clock::now();
  if (!shown_ || now - last_drawn_ < (terminal_ ? Clock::duration(kRedraw) : Clock::duration(kPlainLine))) {
    return;
  }
  last_drawn_ = now;
  drawn_ = true;
  const double elapsed_s = std::chrono::duration<double>(now - started_).count();
  const double rate = elapsed_s > 0 ? static_cast<double>(done - first_done_) / elapsed_s : 0.0;
  const double share = total_ > 0 ? std::min(1.0, static_cast<double>(done) / static_cast<double>(total_)) : 0.0;
  const std::string left =
      rate > 0 && total_ > 0 ? duration_text(static_cast<double>(total_ - done) / rate) + " left" : "-:-- left";
  std::string line = title_;
  if (total_ > 0 && terminal_) {
    const int full = static_cast<int>(share * kBarCells);
    line += " [" + std::string(full, '#') + std::string(kBarCells - full, '.') + "]";
  }
  if (total_ > 0) {
    line += fmt::format(" {:3.0f} %  {}/{}", 100 * share, done, total_);
  } else {
    line += fmt::format(" {}", done);
  }
  line += fmt::format("  {:.0f} {}/s  {}  {}", rate, unit_, left, detail);
  if (terminal_) {
    line.resize(std::min(line.size(), static_cast<std::size_t>(terminal_columns() - 1)));
    line.insert(0, "\r\033[K");
  } else {
    line += '\n';
  }
  std::fputs(line.c_str(), stderr);  // a terminal that was closed is no reason to end the work: fmt::print would throw
  std::fflush(stderr);
}

}  // namespace maskedkd
