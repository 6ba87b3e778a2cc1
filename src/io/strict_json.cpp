#include "maskedkd/io/strict_json.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <set>
#include <string>
#include <vector>

namespace maskedkd {
namespace {

// Hears of every key and value before the parser keeps it.
class Watch {
 public:
  explicit Watch(const JsonLimits& limits) : limits_(limits) {}

  void operator()(nlohmann::json::parse_event_t event, const nlohmann::json& value) {
    using Event = nlohmann::json::parse_event_t;
    switch (event) {
      case Event::object_start:
      case Event::array_start:
        count_value();
        if (open_.size() == limits_.depth) {
          throw JsonRefusal("is nested too deep");
        }
        open_.push_back({event == Event::array_start, 0, {}});
        break;
      case Event::object_end:
      case Event::array_end:
        open_.pop_back();
        break;
      case Event::key: {
        const auto& key = value.get_ref<const std::string&>();
        if (!open_.back().keys.insert(key).second) {
          throw JsonRefusal(fmt::format("names '{}' twice", key));
        }
        break;
      }
      case Event::value:
        count_value();
    }
  }

 private:
  struct Open {
    bool is_list;
    std::size_t values;
    std::set<std::string> keys;
  };

  void count_value() {
    if (!open_.empty() && open_.back().is_list && ++open_.back().values > limits_.list_length) {
      throw JsonRefusal(fmt::format("has a list of more than {} values", limits_.list_length));
    }
  }

  const JsonLimits& limits_;
  std::vector<Open> open_;
};

}  // namespace

nlohmann::json parse_strict_json(std::string_view text, const JsonLimits& limits) {
  // To the parser a NUL ends the text.
  if (text.empty() || text.front() != '{' || text.find('\0') != std::string_view::npos) {
    throw JsonRefusal("is not JSON that begins with {");
  }
  Watch watch(limits);
  try {
    return nlohmann::json::parse(text, [&](int, nlohmann::json::parse_event_t event, nlohmann::json& value) {
      watch(event, value);
      return true;
    });
  } catch (const nlohmann::json::exception&) {
    throw JsonRefusal("is not JSON");
  }
}

}  // namespace maskedkd
