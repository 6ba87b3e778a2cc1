// Lines for people, on standard error, through spdlog: `12:34:56 warning [rank 3] text`. Rank 0 says everything; the
// other ranks say warnings and errors only, so that nobody's trouble is lost and nothing is said N times.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

namespace maskedkd {

// Called once by main, after the rank is known. Standard output is left to results (tables, JSON).
void set_up_log(int rank, int world_size);

// A warning that holds for all ranks, from now on: said by rank 0, and once for each `subject`. Thread-safe.
void warn_once(const std::string& subject, const std::string& line);

}  // namespace maskedkd
