// The stack of the main thread, printed by another thread while the main thread is stuck.
#pragma once

namespace maskedkd {

// By the main thread: from now on it can be asked. SIGURG is used for it, which nobody else sends and which is ignored
// by default.
void make_main_stack_ready();
// By any other thread. Prints to standard error; false where the main thread does not answer within a second (it is in
// the kernel for good, say on a dead file system).
bool print_main_stack(int rank);

}  // namespace maskedkd
