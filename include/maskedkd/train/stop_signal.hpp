// SIGTERM, SIGINT (Ctrl-C), SIGHUP (the terminal is closed) and the signals that batch systems send before they end a
// job (SIGUSR1, SIGUSR2, SIGXCPU) ask the run to finish its step, write a checkpoint and end with exit code 85. Further
// signals change nothing, except that a second Ctrl-C ends the process at once. SIGHUP and SIGINT stay ignored where
// they are ignored at start, as under nohup. SIGPIPE is ignored: a log that nobody reads any more does not end the run.
#pragma once

namespace maskedkd {

// From now on the signals only set a flag. Called by main before anything slow.
void watch_stop_signals();
// Whether this rank has received one of them. Any thread.
bool stop_requested() noexcept;

}  // namespace maskedkd
