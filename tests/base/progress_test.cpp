// What is drawn on a pseudo-terminal of a given width, and what is logged without a terminal.
#include "maskedkd/base/progress.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>

namespace maskedkd {
namespace {

// Runs `work` with a terminal of `columns` columns as standard error. Returns what was drawn.
std::string on_terminal(unsigned short columns, const std::function<void()>& work) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  EXPECT_EQ(grantpt(master), 0);
  EXPECT_EQ(unlockpt(master), 0);
  const int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
  winsize size{};
  size.ws_col = columns;
  size.ws_row = 24;
  EXPECT_EQ(ioctl(terminal, TIOCSWINSZ, &size), 0);
  std::fflush(stderr);
  const int before = dup(STDERR_FILENO);
  dup2(terminal, STDERR_FILENO);
  work();
  std::fflush(stderr);
  dup2(before, STDERR_FILENO);
  close(before);
  close(terminal);
  std::string drawn;
  char buffer[4096];
  for (ssize_t count; (count = read(master, buffer, sizeof(buffer))) > 0;) {
    drawn.append(buffer, static_cast<std::size_t>(count));
  }
  close(master);
  return drawn;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void wait_ms(int time_ms) { std::this_thread::sleep_for(std::chrono::milliseconds(time_ms)); }

TEST(Progress, DrawsShareRateTimeLeftAndDetail) {
  double most_s = 0;  // between the two updates
  const std::string drawn = on_terminal(120, [&] {
    Progress progress("epoch 3", "img", 4000, true);
    const auto begin = std::chrono::steady_clock::now();
    progress.update(1000, "loss 2.000");
    wait_ms(200);
    progress.update(2000, "loss 1.234");
    most_s = seconds_since(begin);
  });
  EXPECT_NE(drawn.find("epoch 3 [############............]  50 %  2000/4000"), std::string::npos) << drawn;
  EXPECT_NE(drawn.find("loss 1.234"), std::string::npos) << drawn;
  // 1000 images in 0.2 s or more: a resumed epoch's first 1000 are not counted.
  const auto rate_at = drawn.rfind(" img/s");
  ASSERT_NE(rate_at, std::string::npos) << drawn;
  const double rate = std::atof(drawn.c_str() + drawn.rfind(' ', rate_at - 1));
  EXPECT_GT(rate, 1000 / most_s - 1) << drawn;
  EXPECT_LE(rate, 5000) << drawn;
  EXPECT_NE(drawn.find(" left"), std::string::npos) << drawn;
  EXPECT_EQ(drawn.substr(drawn.size() - 4), "\r\033[K");  // the line is erased at the end
}

TEST(Progress, NeverWiderThanTheTerminal) {
  const std::string drawn = on_terminal(40, [] {
    Progress progress("epoch 3", "img", 100, true);
    progress.update(50, std::string(300, 'x'));
  });
  const auto begin = drawn.find("epoch");
  ASSERT_NE(begin, std::string::npos);
  EXPECT_EQ(drawn.find('\r', begin) - begin, 39u) << drawn;
}

TEST(Progress, DrawsAtMostTenTimesASecond) {
  int updates = 0;
  double elapsed_s = 0;
  const std::string drawn = on_terminal(120, [&] {
    Progress progress("packing", "img", 0, true);
    const auto begin = std::chrono::steady_clock::now();
    while (elapsed_s < 0.55) {
      progress.update(++updates, "");
      elapsed_s = seconds_since(begin);
    }
  });
  int drawings = 0;
  for (std::size_t at = drawn.find("packing"); at != std::string::npos; at = drawn.find("packing", at + 1)) {
    ++drawings;
  }
  EXPECT_GT(updates, 2 * drawings);
  EXPECT_GE(drawings, 2);
  EXPECT_LE(drawings, 1 + elapsed_s / 0.1);
}

TEST(Progress, MoreThanTheTotalGivesNoNegativeTime) {
  const std::string drawn = on_terminal(120, [] {
    Progress progress("packing", "img", 100, true);
    progress.update(0, "");
    wait_ms(150);
    progress.update(250000, "");
  });
  EXPECT_NE(drawn.find("100 %"), std::string::npos) << drawn;
  EXPECT_EQ(drawn.find("-1"), std::string::npos) << drawn;
  EXPECT_EQ(drawn.find(":-"), drawn.find(":-- left")) << drawn;  // only the first drawing contains "-:-- left"
}

TEST(Progress, OtherRanksAndShortWorkWithoutTerminalLogNothing) {
  EXPECT_EQ(on_terminal(80,
                        [] {
                          Progress progress("epoch 3", "img", 100, false);
                          progress.update(50, "x");
                          wait_ms(120);
                          progress.update(60, "x");
                        }),
            "");
  ::testing::internal::CaptureStderr();
  {
    Progress progress("epoch 3", "img", 100, true);
    progress.update(50, "x");
    wait_ms(120);
    progress.update(100, "x");
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST(Progress, WorkContinuesAfterItsTerminalIsClosed) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  ASSERT_EQ(grantpt(master), 0);
  ASSERT_EQ(unlockpt(master), 0);
  const int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
  const int before = dup(STDERR_FILENO);
  dup2(terminal, STDERR_FILENO);
  {
    Progress progress("epoch 3", "img", 4000, true);
    close(master);
    EXPECT_NO_THROW(progress.update(1000, "loss 2.000"));
  }
  dup2(before, STDERR_FILENO);
  close(before);
  close(terminal);
}

}  // namespace
}  // namespace maskedkd
