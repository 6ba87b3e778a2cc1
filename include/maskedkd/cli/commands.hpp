// Programs of several commands: `maskedkd_weights show FILE`. The first word chooses the command; the rest is for the
// command's own CommandLine, which is called by both names ("maskedkd_weights show") and has its own --help.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace maskedkd {

struct Command {
  std::string name;
  std::string summary;  // one line of the program's --help
  // Gets the rest of main's arguments, with the command's name as argv[0]. Returns the exit code.
  std::function<int(int argc, const char* const* argv)> run;
};

class CommandSet {
 public:
  // purpose: one or two sentences that open --help.
  CommandSet(std::string program, std::string purpose, std::vector<Command> commands);

  // The command that argv[1] names; nullptr where it asks for --help. Throws Error (usage) where there is none, or
  // where it is unknown (with the nearest name).
  const Command* choose(int argc, const char* const* argv) const;
  std::string help() const;
  // choose(), then the command, or help() on standard output. For programs of one process.
  int run(int argc, const char* const* argv) const;

 private:
  std::string program_, purpose_;
  std::vector<Command> commands_;
};

}  // namespace maskedkd
