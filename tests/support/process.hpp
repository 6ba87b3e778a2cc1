// Runs a program as a user would, and returns its exit code and output.
#pragma once

#include <string>
#include <vector>

namespace maskedkd::testing {

struct ProcessResult {
  int exit_code = 0;   // 128 + signal if a signal ended it
  std::string output;  // standard output and standard error together
  double seconds = 0;
};

// argv[0] is searched in PATH if it has no slash. Kills the program and its children after timeout_s: exit code 137.
ProcessResult run_process(const std::vector<std::string>& argv, double timeout_s = 60);

// The same in the background, so that it can be signalled or killed.
class BackgroundProcess {
 public:
  explicit BackgroundProcess(const std::vector<std::string>& argv);
  BackgroundProcess(const BackgroundProcess&) = delete;
  BackgroundProcess& operator=(const BackgroundProcess&) = delete;
  ~BackgroundProcess();                 // kills the process group if it still runs
  void signal(int number) const;        // to the process
  void signal_group(int number) const;  // to the process and its children
  bool running();
  ProcessResult wait(double timeout_s = 60);

 private:
  int pid_ = -1;
  int output_ = -1;
  int status_ = 0;
  bool ended_ = false;
  double started_s_ = 0;
};

}  // namespace maskedkd::testing
