// What CommandLine knows about a program: its options and positional arguments, where their values go, and which were
// given. options.cpp fills it, words.cpp and config_file.cpp read what a user wrote, help.cpp prints it.
#pragma once

#include "maskedkd/cli/options.hpp"

#include <functional>
#include <string>
#include <vector>

namespace maskedkd {

struct CommandLine::State {
  struct Option {
    std::string name;
    std::string kind;  // of its value, as --help shows it; of a switch: empty
    std::string description;
    std::size_t group = 0;
    OnResume on_resume = OnResume::reported;
    bool is_switch = false;                                 // a bool: needs no value
    bool is_list = false;                                   // takes several words; their text is lines
    bool is_path = false;                                   // its text may name variables that only some nodes have
    std::function<std::string(const std::string&)> assign;  // returns the text in its only form
    std::string text;                                       // the default; after parse(): in force
    bool given = false;
    bool on_command_line = false;
  };
  struct Positional {
    std::string name;
    std::filesystem::path* value;
    std::string description;
    bool is_required;
  };

  std::string program, purpose, example;
  std::vector<std::string> groups;  // titles
  std::vector<Option> options;
  std::vector<Positional> positionals;
  std::vector<std::string> required;
  std::function<std::string(const std::string& name)> advice;  // empty: there is none
  std::string config_path;
  std::vector<std::string> positional_words;  // after take_words()

  // flag: "flip P", or "flip" with the kind from `option`. option: all that the flag's type decides.
  void add(const std::string& flag, const std::string& description, OnResume on_resume, Option option);
  Option* find(const std::string& name);
  // where: "FILE:LINE: " for a key of the file, empty for a flag of the command line.
  [[noreturn]] void unknown(const std::string& name, const std::string& where = {}) const;

  // Removes the positional arguments and returns what Boost is to parse: names with dashes, and a switch's word joined
  // to it by `=`.
  std::vector<std::string> take_words(int argc, const char* const* argv);
  // Fills the variables of the positional arguments; too many or too few are an Error. Not called for --help.
  void assign_positionals();
  void read_config_file();
  // "IN OUT"
  std::string positional_names() const;
};

// true, 1, on, yes; false, 0, off, no.
bool is_bool_word(const std::string& text);

}  // namespace maskedkd
