// Prints the stack of the main thread from another thread, while the main thread is stuck.
#pragma once

namespace maskedkd {

// Called by the main thread before print_main_stack(). Uses SIGURG, which is ignored by default and otherwise unused.
void prepare_main_stack();
// Called by any other thread. Prints to standard error; false: the main thread does not respond, stuck in the kernel.
bool print_main_stack(int rank);

}  // namespace maskedkd
