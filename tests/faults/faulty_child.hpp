// A forked child that is killed, or whose calls fail, at one call below a folder; and the list of possible faults.
#pragma once

#include "faults/power_cut.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace maskedkd::testing {

struct FaultPoint {
  int kind = FAULTS_NONE;  // enum faults_kind
  std::uint64_t n = 0;     // number of the call
  int reason = 0;          // errno
  std::string text() const;
};

// What the child reports; it survives a kill.
struct Promised {
  std::int64_t step = 0;    // of the newest checkpoint reported as saved
  std::int64_t best = 0;    // of the checkpoint reported as marked best
  char message[2000] = {};  // of the Error that ended the work
  char hint[500] = {};
  int code = 0;
};

struct ChildEnd {
  bool killed = false;
  int exit_code = 0;        // 0: done; 1: Error, see promised; 2: other exception, text in promised.message
  std::uint64_t calls = 0;  // numbered calls
  std::uint64_t fired = 0;  // calls with a fault
  std::string call;         // the first call with a fault, and its path
  Promised promised;
};

// Runs `work` in a fork. Calls below `root` are numbered.
ChildEnd run_faulty(const std::filesystem::path& root, const FaultPoint& point,
                    const std::function<void(Promised&)>& work);

// Runs `work` without faults and records its calls. Marks in the log: see mark_promised().
ChildEnd run_recorded(const std::filesystem::path& root, const std::filesystem::path& log,
                      const std::function<void(Promised&)>& work);
// Writes the promises made so far into the log; `work` calls it after each.
void mark_promised(const Promised& promised);
// The promises of the last mark among the first num_operations.
Promised promised_by(const std::vector<Operation>& operations, std::size_t num_operations);

// A kill before, after, and (for writes) in the middle of every call.
std::vector<FaultPoint> kill_points(const std::vector<Operation>& operations);
// Every errno at every call that can give it; disks that fill up, disappear or become read-only at the call; short
// writes and signals, which are not errors.
std::vector<FaultPoint> error_points(const std::vector<Operation>& operations);
// Whether a caller must continue after the fault.
bool is_harmless(const FaultPoint& point);

const char* name_of_call(int call);

}  // namespace maskedkd::testing
