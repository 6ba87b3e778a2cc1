// Binds plain option structs to the command line: the only room that knows Boost. Every program says its groups of
// options here and gets parsing, a file of the same keys (`--config`), `--help`, the nearest name for a misspelt flag,
// and the resolved set to print and save. Programs of several commands choose one by commands.hpp first.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace maskedkd {

class CommandLine {
 public:
  // purpose: one or two sentences that open --help. example: one whole command.
  CommandLine(std::string program, std::string purpose, std::string example);
  ~CommandLine();

  // Starts a group; the options added next belong to it.
  CommandLine& group(const std::string& title);

  // Binds a flag to a variable whose present value is the default. name: "crop-min-area"; on the command line `-` and
  // `_` are the same. description: with unit. A bool is given as `--name`, `--name false` or `--name=false`.
  // A path may hold $NAME, ${NAME} and ~ (expanded_path.hpp), also as a positional argument.
  CommandLine& option(const std::string& name, std::string& value, const std::string& description);
  CommandLine& option(const std::string& name, std::filesystem::path& value, const std::string& description);
  CommandLine& option(const std::string& name, int& value, const std::string& description);
  CommandLine& option(const std::string& name, std::int64_t& value, const std::string& description);
  CommandLine& option(const std::string& name, std::uint64_t& value, const std::string& description);
  CommandLine& option(const std::string& name, double& value, const std::string& description);
  CommandLine& option(const std::string& name, bool& value, const std::string& description);
  // For enumerations: parse is called with the text that was given, and throws an Error that lists the names.
  CommandLine& option(const std::string& name, const std::string& default_text, const std::string& description,
                      std::function<void(const std::string&)> parse);
  // An argument without a flag, in the order of the calls. name: as --help and messages write it, "IN". An optional one
  // comes after the required ones; left out, its variable stays. Where a program has any, a bool takes the word behind
  // it only if that is true, false, on, off, yes, no, 1 or 0.
  CommandLine& positional(const std::string& name, std::filesystem::path& value, const std::string& description,
                          bool is_required = true);
  // What to say of a flag that this program does not know but another one does, in one line; empty: nothing, and the
  // nearest name is offered. The name has `-` for `_`.
  CommandLine& advise_unknown(std::function<std::string(const std::string& name)> advice);
  // Every flag named must have been given a value that is not empty.
  CommandLine& required(const std::string& name);

  // Fills the variables: defaults, then the file of --config (`key = value` a line; a comment begins with # at the
  // start of a line or after a blank), then the command line. Returns false where --help was asked for. Throws Error
  // (usage), which names the file and the line where the mistake is there.
  bool parse(int argc, const char* const* argv);

  std::string help() const;
  // Every option by name, in order; after parse(). A number is written the one way it has: 1e-3 and 0.001 are the same.
  std::vector<std::pair<std::string, std::string>> resolved() const;
  bool given(const std::string& name) const;  // on the command line or in the file
  // What was asked for and would change nothing is a mistake: throws Error (usage) where one of these was given.
  // beside: what makes it idle, "--erasing 0"; why: in words.
  void refuse_given(std::initializer_list<const char*> names, const std::string& beside, const std::string& why) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace maskedkd
