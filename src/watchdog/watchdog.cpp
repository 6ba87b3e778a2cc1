#include "maskedkd/watchdog/watchdog.hpp"

#include "maskedkd/base/error.hpp"
#include "watchdog_monitor.hpp"

#include <regex>
#include <utility>

namespace maskedkd {

std::optional<double> WatchdogOptions::parse_timeout(const std::string& text) {
  if (text == "auto") {
    return std::nullopt;
  }
  if (!std::regex_match(text, std::regex(R"(\d{1,7}(\.\d{1,3})?)"))) {
    throw usage_error(fmt::format("--hang-timeout: '{}' is not a time", text),
                      "give auto, or seconds; 0 turns the watchdog off");
  }
  return std::stod(text);
}

void WatchdogOptions::validate() const {
  if (timeout_s && *timeout_s != 0 && *timeout_s < 1) {
    throw usage_error(fmt::format("--hang-timeout {} is less than a second", *timeout_s),
                      "give auto, or seconds; 0 turns the watchdog off");
  }
}

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
    watched.stop_watching_ = [monitor = monitor_] { monitor->watch(nullptr); };
  }
  return watched;
}

Watchdog::Watched::Watched(Watched&& other) noexcept : stop_watching_(std::exchange(other.stop_watching_, nullptr)) {}

Watchdog::Watched& Watchdog::Watched::operator=(Watched&& other) noexcept {
  std::swap(stop_watching_, other.stop_watching_);
  return *this;
}

Watchdog::Watched::~Watched() {
  if (stop_watching_) {
    stop_watching_();
  }
}

}  // namespace maskedkd
