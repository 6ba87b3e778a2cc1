// SIGTERM and SIGUSR1 ask the run to finish its step, write a checkpoint and end with 85. Asking twice changes nothing.
#pragma once

namespace maskedkd {

// From now on both signals only set a flag. Called by main before anything slow.
void watch_stop_signals();
// Whether one of them has come, on this rank. Async-signal-safe state, any thread.
bool stop_requested() noexcept;

}  // namespace maskedkd
