// Which process something belongs to, as others can recognise it later, and whether that process still runs. All that
// is taken over or removed because its owner seems to be gone (a run, a half-written file) is decided here: what can't
// be known is `unknown`, never `dead`, and whoever gets that answer may only go by age.
#pragma once

#include <cstdint>
#include <string>

namespace maskedkd {

struct ProcessIdentity {
  std::string host;
  // This start of the machine, with the namespaces that process numbers and start times belong to; empty: not known.
  std::string boot;
  std::int64_t process = 0;
  std::string process_started;  // numbers come again: the kernel's start time of that process; empty: not known
};

ProcessIdentity this_process_identity();

enum class Liveness { alive, dead, unknown };

// dead: the kernel says that there is no such process, that its number is another's now, or that it has ended and is
// only not yet collected by its parent. unknown: it belongs to another machine, another start of this one or another
// container, or the kernel does not show it (/proc with hidepid, no /proc, the /proc of another container).
Liveness liveness_of(const ProcessIdentity& process);

}  // namespace maskedkd
