// SIGTERM, SIGINT (Ctrl-C), SIGHUP (the terminal goes away) and what batch systems send before they end a job (SIGUSR1,
// SIGUSR2, SIGXCPU) ask the run to finish its step, write a checkpoint and end with 85. Asking twice changes nothing,
// but for a second Ctrl-C, which ends the process at once. SIGHUP and SIGINT stay ignored where they are ignored at
// start, as under nohup. SIGPIPE is ignored: a log that nobody reads any more does not end the run.
#pragma once

namespace maskedkd {

// From now on the signals only set a flag. Called by main before anything slow.
void watch_stop_signals();
// Whether one of them has come, on this rank. Async-signal-safe state, any thread.
bool stop_requested() noexcept;

}  // namespace maskedkd
