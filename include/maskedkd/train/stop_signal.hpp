// SIGTERM, SIGUSR1 and SIGINT (Ctrl-C) ask the run to finish its step, write a checkpoint and end with 85. Asking twice
// changes nothing, but for a second Ctrl-C, which ends the process at once.
#pragma once

namespace maskedkd {

// From now on the signals only set a flag. Called by main before anything slow.
void watch_stop_signals();
// Whether one of them has come, on this rank. Async-signal-safe state, any thread.
bool stop_requested() noexcept;

}  // namespace maskedkd
