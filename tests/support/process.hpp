// Runs a program as a user would and tells how it ended.
#pragma once

#include <string>
#include <vector>

namespace maskedkd::testing {

struct ProcessResult {
  int exit_code = 0;   // 128 + signal where one ended it
  std::string output;  // standard output and standard error together
  double seconds = 0;
};

// argv[0] is looked up in PATH where it has no slash. Killed (with its children) after timeout_s: exit code 137.
ProcessResult run_process(const std::vector<std::string>& argv, double timeout_s = 60);

// The same in the background, to be signalled or killed.
class BackgroundProcess {
 public:
  explicit BackgroundProcess(const std::vector<std::string>& argv);
  BackgroundProcess(const BackgroundProcess&) = delete;
  BackgroundProcess& operator=(const BackgroundProcess&) = delete;
  ~BackgroundProcess();                 // kills the group where it still runs
  void signal(int number) const;        // to the process
  void signal_group(int number) const;  // to it and all its children
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
