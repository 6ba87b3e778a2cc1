// A forked child that is killed, or whose calls fail, at one call below a folder; and the points there are for that.
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
  std::uint64_t n = 0;     // the call
  int reason = 0;          // errno
  std::string text() const;
};

// What the child tells; it survives a kill.
struct Promised {
  std::int64_t step = 0;    // of the newest checkpoint that was said to be saved
  std::int64_t best = 0;    // of the best one that was said to be marked
  char message[2000] = {};  // of the Error that ended the work
  char hint[500] = {};
  int code = 0;
};

struct ChildEnd {
  bool killed = false;
  int exit_code = 0;        // 0: done; 1: an Error, see promised; 2: another exception, its text is in promised.message
  std::uint64_t calls = 0;  // that were numbered
  std::uint64_t fired = 0;  // how many of them were touched
  std::string call;         // the first of these, and its path
  Promised promised;
};

// Runs `work` in a fork. Calls below `root` count.
ChildEnd run_faulty(const std::filesystem::path& root, const FaultPoint& point,
                    const std::function<void(Promised&)>& work);

// The same undisturbed, with the log of its calls. Marks in the log: see mark_of.
ChildEnd run_recorded(const std::filesystem::path& root, const std::filesystem::path& log,
                      const std::function<void(Promised&)>& work);
// Promises made so far are put into the log by this; `work` calls it after each.
void mark_promised(const Promised& promised);
// The last mark among the first num_operations.
Promised promised_by(const std::vector<Operation>& operations, std::size_t num_operations);

// Every call before, after, and (writes) in the middle.
std::vector<FaultPoint> kill_points(const std::vector<Operation>& operations);
// Every errno at every call that can give it; disks that fill up, go away or become read-only there; short writes and
// signals, which are no errors.
std::vector<FaultPoint> error_points(const std::vector<Operation>& operations);
// Nothing is wrong: a caller goes on.
bool is_harmless(const FaultPoint& point);

const char* name_of_call(int call);

}  // namespace maskedkd::testing
