// What CommandLine knows of a program: its options and positional arguments, where their values go, and which were
// given. options.cpp fills it, words.cpp and config_file.cpp read what a user wrote, help.cpp tells of it.
#pragma once

#include "maskedkd/cli/options.hpp"

#include <boost/program_options.hpp>

#include <deque>
#include <functional>
#include <string>
#include <vector>

namespace maskedkd {

struct CommandLine::State {
  struct Option {
    std::string name;
    std::string default_text;
    std::function<std::string(const std::string&)> assign;  // returns the one text that the value has
    bool flag = false;                                      // a bool: needs no value
    std::string text;                                       // after parse()
    bool given = false;
    bool on_command_line = false;
    bool path = false;  // its text may name variables, which a node has or not
  };
  struct Positional {
    std::string name;
    std::filesystem::path* value;
    std::string description;
    bool is_required;
  };

  std::string program, purpose, example;
  std::deque<boost::program_options::options_description> groups;
  std::vector<Option> options;
  std::vector<Positional> positionals;
  std::vector<std::string> required;
  std::function<std::string(const std::string& name)> advice;  // empty: there is none
  std::string config_path;

  // kind: what --help shows for the value; BOOL: a flag.
  void add(const std::string& name, const std::string& default_text, const std::string& description, const char* kind,
           std::function<std::string(const std::string&)> assign);
  Option* find(const std::string& name);
  // where: "FILE:LINE: " for a key of the file, empty for a flag of the command line.
  [[noreturn]] void unknown(const std::string& name, const std::string& where = {}) const;

  // Takes the positional arguments out and returns what Boost is to parse: names with dashes, a flag's word behind a
  // `=`.
  std::vector<std::string> take_words(int argc, const char* const* argv);
  // Assigns what the positional arguments are; too many or too few are an Error. Not where --help is asked for.
  void assign_positionals();
  void read_config_file();
  // "IN OUT"
  std::string positional_names() const;

  std::vector<std::string> positional_words;  // after take_words()
};

// true, 1, on, yes; false, 0, off, no.
bool is_bool_word(const std::string& text);

}  // namespace maskedkd
