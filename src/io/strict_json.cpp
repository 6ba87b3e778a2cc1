// Two passes: the first one checks the rules and stores nothing, the second one parses. (The parser could call the
// checks itself, but then it searches all members of an object whenever one of them ends.)
#include "maskedkd/io/strict_json.hpp"

#include "maskedkd/base/quoted_name.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <set>
#include <string>
#include <vector>

namespace maskedkd {
namespace {

class Rules : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Rules(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return count_value(); }
  bool boolean(bool) override { return count_value(); }
  bool number_integer(number_integer_t) override { return count_value(); }
  bool number_unsigned(number_unsigned_t) override { return count_value(); }
  bool number_float(number_float_t, const string_t&) override { return count_value(); }
  bool string(string_t&) override { return count_value(); }
  bool binary(binary_t&) override { return count_value(); }
  bool start_object(std::size_t) override { return open(false); }
  bool start_array(std::size_t) override { return open(true); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (!open_.back().keys.insert(name).second) {
      throw JsonRefusal(fmt::format("names {} twice", quoted_name(name)));
    }
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    throw JsonRefusal("is not JSON");
  }

 private:
  struct Open {
    bool is_list;
    std::size_t values;
    std::set<std::string> keys;
  };

  bool open(bool is_list) {
    count_value();
    if (open_.size() == limits_.depth) {
      throw JsonRefusal("is nested too deep");
    }
    open_.push_back({is_list, 0, {}});
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  bool count_value() {
    if (++values_ > limits_.values) {
      throw JsonRefusal(fmt::format("has more than {} values", limits_.values));
    }
    if (!open_.empty() && open_.back().is_list && ++open_.back().values > limits_.list_length) {
      throw JsonRefusal(fmt::format("has a list of more than {} values", limits_.list_length));
    }
    return true;
  }

  const JsonLimits& limits_;
  std::vector<Open> open_;
  std::size_t values_ = 0;
};

}  // namespace

nlohmann::json parse_strict_json(std::string_view text, const JsonLimits& limits) {
  // The parser takes a NUL for the end of the text.
  if (text.empty() || text.front() != '{' || text.find('\0') != std::string_view::npos) {
    throw JsonRefusal("is not JSON that begins with {");
  }
  Rules rules(limits);
  try {
    nlohmann::json::sax_parse(text, &rules);
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception&) {
    throw JsonRefusal("is not JSON");
  }
}

}  // namespace maskedkd
