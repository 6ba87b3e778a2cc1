// A file that is mapped into memory (weights, checkpoints) can be truncated by another process, or its disk can fail:
// the next access to the lost pages is a SIGBUS, which ends a process silently. run_main() calls this to say why.
#pragma once

namespace maskedkd {

// From now on a SIGBUS writes one line to standard error and ends the process with exit code 1 at once: nothing else
// is safe then. For the whole process; may be called again.
void report_lost_mapping() noexcept;

}  // namespace maskedkd
