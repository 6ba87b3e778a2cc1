#include "preprocess/class_files.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/quoted_name.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

namespace maskedkd {
namespace {

constexpr std::int64_t kMostClasses = 1'000'000;

struct Line {
  int number = 0;
  std::string_view text;
};

std::vector<Line> lines_of(std::string_view text) {
  std::vector<Line> lines;
  int number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (!line.empty() && line.back() == '\r') {
      line.remove_suffix(1);
    }
    if (line.find_first_not_of(" \t") != std::string_view::npos) {
      lines.push_back({number, line});
    }
  }
  return lines;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
    text.remove_prefix(1);
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) {
    text.remove_suffix(1);
  }
  return text;
}

[[noreturn]] void refuse(const std::filesystem::path& path, const Line& line, const std::string& why,
                         const std::string& hint = {}) {
  throw usage_error(fmt::format("{}:{}: {}", path.string(), line.number, why), hint);
}

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) {
    return std::nullopt;
  }
  return value;
}

std::int32_t label_of(const ClassMap& map, std::string_view word, const std::filesystem::path& path, const Line& line) {
  if (const auto folder = map.label_of.find(std::string(word)); folder != map.label_of.end()) {
    return folder->second;
  }
  const auto name = std::find(map.class_names.begin(), map.class_names.end(), word);
  if (name != map.class_names.end()) {
    return static_cast<std::int32_t>(name - map.class_names.begin());
  }
  const auto number = whole_number(word);
  if (!number || *number >= static_cast<std::int64_t>(map.class_names.size())) {
    refuse(path, line, fmt::format("{} is no class of the map", quoted_name(word)));
  }
  return static_cast<std::int32_t>(*number);
}

}  // namespace

ClassMap parse_class_map(std::string_view text, const std::filesystem::path& path, bool merge) {
  ClassMap map;
  std::map<std::string, std::int32_t> labels;
  for (const Line& line : lines_of(text)) {
    const std::string_view whole = trimmed(line.text);
    const std::size_t cut =
        std::min(whole.find('\t') != std::string_view::npos ? whole.find('\t') : whole.find(' '), whole.size());
    const std::string folder(trimmed(whole.substr(0, cut)));
    const std::string_view given = trimmed(whole.substr(cut));
    const std::string name(given.empty() ? std::string_view(folder) : given);
    const auto [label, is_new] = labels.emplace(name, static_cast<std::int32_t>(labels.size()));
    if (is_new) {
      map.class_names.push_back(name);
    } else if (!merge) {
      refuse(path, line, fmt::format("another folder is called {} too", quoted_name(name)),
             "give each its own name, or make them one class by --merge-classes");
    }
    if (!map.label_of.emplace(folder, label->second).second) {
      refuse(path, line, fmt::format("the folder {} is there twice", quoted_name(folder)));
    }
  }
  if (map.class_names.empty()) {
    throw usage_error(fmt::format("{} names no classes", path.string()), "it takes a line a folder: FOLDER CLASS NAME");
  }
  return map;
}

LabelledFiles parse_labels(std::string_view text, const std::filesystem::path& path, const ClassMap* map) {
  LabelledFiles result;
  std::vector<Line> lines = lines_of(text);
  std::vector<std::string_view> words;
  std::set<std::string_view> seen;
  for (const Line& line : lines) {
    const std::size_t tab = line.text.rfind('\t');
    const std::string_view whole = tab == std::string_view::npos ? trimmed(line.text) : line.text;
    const std::size_t cut = tab == std::string_view::npos ? whole.rfind(' ') : tab;
    if (cut == std::string_view::npos) {
      refuse(path, line, "a label is missing", "it takes a line a file: PATH LABEL");
    }
    const std::string_view file = trimmed(whole.substr(0, cut));
    words.push_back(trimmed(whole.substr(cut)));
    if (file.empty() || words.back().empty()) {
      refuse(path, line, file.empty() ? "a path is missing" : "a label is missing",
             "it takes a line a file: PATH LABEL");
    }
    const std::filesystem::path below(file);
    if (below.is_absolute() || std::find(below.begin(), below.end(), "..") != below.end()) {
      refuse(path, line, fmt::format("{} does not lie below --data-path", quoted_name(file)),
             "its paths are relative and go down only");
    }
    if (!seen.insert(file).second) {
      refuse(path, line, fmt::format("{} is there twice", quoted_name(file)));
    }
    result.paths.emplace_back(file);
  }
  if (lines.empty()) {
    throw usage_error(fmt::format("{} lists no files", path.string()), "it takes a line a file: PATH LABEL");
  }
  if (map != nullptr) {
    result.class_names = map->class_names;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      result.labels.push_back(label_of(*map, words[i], path, lines[i]));
    }
    return result;
  }
  if (whole_number(words.front())) {
    std::int64_t largest = 0;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const auto number = whole_number(words[i]);
      if (!number || *number >= kMostClasses) {
        refuse(path, lines[i], fmt::format("the label {} is no number of a class", quoted_name(words[i])),
               "labels are all numbers or all names");
      }
      result.labels.push_back(static_cast<std::int32_t>(*number));
      largest = std::max(largest, *number);
    }
    for (std::int64_t label = 0; label <= largest; ++label) {
      result.class_names.push_back(std::to_string(label));
    }
    return result;
  }
  const std::set<std::string_view> names(words.begin(), words.end());
  result.class_names.assign(names.begin(), names.end());
  for (const std::string_view word : words) {
    result.labels.push_back(static_cast<std::int32_t>(
        std::lower_bound(result.class_names.begin(), result.class_names.end(), word) - result.class_names.begin()));
  }
  return result;
}

}  // namespace maskedkd
