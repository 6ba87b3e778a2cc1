// The one place where a process ends: starts MPI, runs a program's body, and turns whatever it throws into one line, an
// exit code, and the end of all other ranks.
#pragma once

#include <functional>

namespace maskedkd {

class MpiSession;

// Returns what main returns. body gives the exit code. An Error prints `error: message` and `hint` with its rank; rank
// 0 prints first, so that a mistake of all ranks is printed once; then every rank of the job is ended with the Error's
// code, within seconds. Out of memory and exceptions of other types end the same way, with code 1.
int run_main(int argc, char** argv, const std::function<int(const MpiSession&, int, char**)>& body);
// The same for a program of one process: MPI is not started, so it also runs where no MPI job may (a login node).
int run_main(int argc, char** argv, const std::function<int(int, char**)>& body);

}  // namespace maskedkd
