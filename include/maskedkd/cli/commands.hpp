// Programs of several commands: `maskedkd_weights show FILE`. The first word chooses; what follows is the command's own
// CommandLine, which bears both names ("maskedkd_weights show") and has its own --help.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace maskedkd {

struct Command {
  std::string name;
  std::string summary;  // one line of the program's --help
  // What is left of main's arguments: argv[0] is the command's name. Returns the exit code.
  std::function<int(int argc, const char* const* argv)> run;
};

class CommandSet {
 public:
  // purpose: one or two sentences that open --help.
  CommandSet(std::string program, std::string purpose, std::vector<Command> commands);

  // The command that argv[1] names; nullptr where it asks for --help. Throws Error (usage): there is none, or it is
  // unknown (with the nearest name).
  const Command* choose(int argc, const char* const* argv) const;
  std::string help() const;
  // choose(), then the command, or help() on standard output. For programs of one process.
  int run(int argc, const char* const* argv) const;

 private:
  std::string program_, purpose_;
  std::vector<Command> commands_;
};

}  // namespace maskedkd
