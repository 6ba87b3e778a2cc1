// A file that is mapped into memory (weights, checkpoints) can be cut by somebody else, or its disk can fail: the next
// touch of the lost pages is a SIGBUS, which ends a process without a word. run_main() calls this, so that it says why.
#pragma once

namespace maskedkd {

// From now on a SIGBUS writes one line to standard error and ends the process with exit code 1 at once: nothing else
// is safe then. For the whole process; may be called again.
void say_why_on_lost_mapping() noexcept;

}  // namespace maskedkd
