// Identifies a process so that others can find out later whether it still runs. Every decision to take over or remove
// something because its owner seems to be gone (a run, a half-written file) is based on this: what can't be known is
// `unknown`, never `dead`, and then a caller may only judge by age.
#pragma once

#include <cstdint>
#include <string>

namespace maskedkd {

struct ProcessIdentity {
  std::string host;
  // This start of the machine, with the namespaces that process numbers and start times belong to; empty: not known.
  std::string boot;
  std::int64_t process = 0;
  std::string process_started;  // numbers are reused: the kernel's start time of that process; empty: not known
};

ProcessIdentity this_process_identity();

enum class Liveness { alive, dead, unknown };

// dead: the kernel says that there is no such process, that another one has its number now, or that it has ended and
// its parent has not collected it yet. unknown: it belongs to another machine, another start of this one or another
// container, or the kernel does not show it (/proc with hidepid, no /proc, the /proc of another container).
Liveness liveness_of(const ProcessIdentity& process);

}  // namespace maskedkd
