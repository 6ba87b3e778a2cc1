#include "maskedkd/cli/commands.hpp"

#include "help.hpp"
#include "maskedkd/base/error.hpp"
#include "names.hpp"

#include <fmt/ranges.h>

#include <cstdio>
#include <utility>

namespace maskedkd {

constexpr const char* kHelp = "--help";

CommandSet::CommandSet(std::string program, std::string purpose, std::vector<Command> commands)
    : program_(std::move(program)), purpose_(std::move(purpose)), commands_(std::move(commands)) {}

const Command* CommandSet::choose(int argc, const char* const* argv) const {
  std::vector<std::string> names;
  for (const Command& command : commands_) {
    names.push_back(command.name);
  }
  const std::string listed = fmt::format("choose from {}", fmt::join(names, ", "));
  if (argc < 2) {
    throw usage_error("a command is missing", listed);
  }
  const std::string given = argv[1];
  if (given == kHelp) {
    return nullptr;
  }
  for (const Command& command : commands_) {
    if (command.name == given) {
      return &command;
    }
  }
  names.emplace_back(kHelp);
  const std::string nearest = nearest_name(given, names);
  throw usage_error(fmt::format("unknown command '{}'", given),
                    nearest.empty() ? listed : fmt::format("did you mean {}?", nearest));
}

std::string CommandSet::help() const {
  std::vector<std::pair<std::string, std::string>> names;
  for (const Command& command : commands_) {
    names.emplace_back(command.name, command.summary);
  }
  return fmt::format("{}\n\nUsage:\n  {} COMMAND ...\n\nCommands ({} COMMAND --help says more):\n{}", wrapped(purpose_),
                     program_, program_, described_names(names));
}

int CommandSet::run(int argc, const char* const* argv) const {
  const Command* command = choose(argc, argv);
  if (command == nullptr) {
    std::fputs(help().c_str(), stdout);
    return 0;
  }
  return command->run(argc - 1, argv + 1);
}

}  // namespace maskedkd
