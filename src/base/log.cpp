#include "maskedkd/base/log.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include <memory>
#include <mutex>
#include <set>
#include <string>

namespace maskedkd {

void set_up_log(int rank, int world_size) {
  auto logger = std::make_shared<spdlog::logger>("maskedkd", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  const std::string who = world_size > 1 ? fmt::format("[rank {}] ", rank) : std::string();
  logger->set_pattern(fmt::format("%H:%M:%S %^%l%$ {}%v", who));
  logger->set_level(rank == 0 ? spdlog::level::info : spdlog::level::warn);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

void log_on_rank_0(spdlog::level::level_enum level, const std::string& line) {
  const bool is_rank_0 = spdlog::should_log(spdlog::level::info);
  spdlog::log(is_rank_0 ? level : spdlog::level::debug, "{}", line);
}

void warn_once(const std::string& subject, const std::string& line) {
  static std::mutex mutex;
  static std::set<std::string> logged;
  const std::lock_guard lock(mutex);
  if (logged.insert(subject).second) {
    log_on_rank_0(spdlog::level::warn, line);
  }
}

}  // namespace maskedkd
