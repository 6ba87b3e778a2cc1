// Log lines on standard error, through spdlog: `12:34:56 warning [rank 3] text`. Rank 0 logs everything, the other
// ranks only warnings and errors, so that no rank's problem is lost and nothing is logged N times.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

namespace maskedkd {

// Called once by main, after the rank is known. Standard output is left to results (tables, JSON).
void set_up_log(int rank, int world_size);

// A line that holds for all ranks: only rank 0 logs it.
void log_on_rank_0(spdlog::level::level_enum level, const std::string& line);

// A warning that holds for all ranks: logged by rank 0, once for each `subject`. Thread-safe.
void warn_once(const std::string& subject, const std::string& line);

}  // namespace maskedkd
