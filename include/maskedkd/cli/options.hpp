// Binds plain option structs to the command line; only this module knows Boost. A program binds its options here and
// gets parsing, a file of the same keys (`--config`), `--help`, the nearest name for a misspelt flag, and the resolved
// set to print and save. Programs of several commands choose one with commands.hpp first.
#pragma once

#include "maskedkd/base/option_text.hpp"

#include <filesystem>
#include <functional>
#include <initializer_list>
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

  // Binds a flag to a variable whose present value is the default. T: std::string, std::filesystem::path, int,
  // std::int64_t, std::uint64_t, double, bool, or std::vector<std::filesystem::path>, which takes all words up to the
  // next flag.
  // flag: its name, and what --help shows for its value where that is not PATH, N, NUMBER or TEXT: "flip P". In names
  // `-` and `_` are the same. description: with unit.
  // A bool is a switch: `--name`, `--name false` or `--name=false`. A path may hold $NAME, ${NAME} and ~
  // (expanded_path.hpp), also as a positional argument.
  template <typename T>
  CommandLine& option(const std::string& flag, T& value, const std::string& description,
                      OnResume on_resume = OnResume::reported);
  // For values of other types: parse gets the text that was given, or the default where that is not empty, and throws
  // Error (usage). flag: with what --help shows for the value, "keep N|SHARE".
  CommandLine& option(const std::string& flag, const std::string& default_text, const std::string& description,
                      std::function<void(const std::string&)> parse, OnResume on_resume = OnResume::reported);
  // An argument without a flag, in the order of the calls. name: as --help and messages write it, "IN". An optional one
  // comes after the required ones; left out, its variable stays. In a program with positional arguments a switch takes
  // the next word only if that is true, false, on, off, yes, no, 1 or 0.
  CommandLine& positional(const std::string& name, std::filesystem::path& value, const std::string& description,
                          bool is_required = true);
  // advice: what to say, in one line, about a flag that this program does not have but another one does; empty:
  // nothing, and the nearest name is offered. The name has `-` for `_`.
  CommandLine& advise_unknown(std::function<std::string(const std::string& name)> advice);
  // The flag must be given a value that is not empty.
  CommandLine& required(const std::string& name);

  // Fills the variables: defaults, then the file of --config (`key = value` a line; a comment begins with # at the
  // start of a line or after a blank), then the command line. Returns false where --help was asked for. Throws Error
  // (usage), which names the file and the line where the mistake is there.
  bool parse(int argc, const char* const* argv);

  std::string help() const;
  // Every option but --help and --config, in the order of --help; after parse(). A number has one text: 1e-3 and 0.001
  // give the same.
  OptionTexts resolved() const;
  bool given(const std::string& name) const;  // on the command line or in the file
  // An option that was given but has no effect is a mistake: throws Error (usage) where one of `names` was given.
  // beside: what takes away its effect, "--erasing 0"; why: the reason.
  void refuse_given(std::initializer_list<const char*> names, const std::string& beside, const std::string& why) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace maskedkd
