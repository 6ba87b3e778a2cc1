#include "preprocess/class_files.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/base/text_lines.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

namespace maskedkd {
namespace {

constexpr std::int64_t kMostClasses = 1'000'000;

// The lines that are not blank.
std::vector<TextLine> lines_of(std::string_view text, const std::filesystem::path& path) {
  std::vector<TextLine> lines = lines_of_text(text, path.string());
  std::erase_if(lines, [](const TextLine& line) { return without_blanks(line.text).empty(); });
  return lines;
}

[[noreturn]] void refuse(const std::filesystem::path& path, const TextLine& line, const std::string& why,
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

std::int32_t label_of(const ClassMap& map, std::string_view word, const std::filesystem::path& path,
                      const TextLine& line) {
  if (const auto folder = map.label_of.find(std::string(word)); folder != map.label_of.end()) {
    return folder->second;
  }
  const auto name = std::find(map.class_names.begin(), map.class_names.end(), word);
  if (name != map.class_names.end()) {
    return static_cast<std::int32_t>(name - map.class_names.begin());
  }
  const auto number = whole_number(word);
  if (!number || *number >= static_cast<std::int64_t>(map.class_names.size())) {
    refuse(path, line, fmt::format("{} is not a class of the map", quoted_name(word)),
           number ? "the map's classes are numbered from 0" : "");
  }
  return static_cast<std::int32_t>(*number);
}

// Explains what is wrong with a line of one word.
[[noreturn]] void refuse_single_word(const std::filesystem::path& path, const TextLine& line, std::string_view word) {
  if (whole_number(word)) {
    refuse(
        path, line, "a number without a path",
        "in the development kit's ILSVRC2012_validation_ground_truth.txt the numbers are ILSVRC2012_ID, not the order "
        "of the class folders: let torchvision.datasets.ImageNet(ROOT, 'val') sort the images into class folders, or "
        "use Kaggle's LOC_val_solution.csv");
  }
  if (word.find(',') != std::string_view::npos) {
    refuse(path, line, "a comma instead of a tab or a blank",
           "each line must be: PATH LABEL; the only list with commas that is read is Kaggle's LOC_val_solution.csv");
  }
  refuse(path, line, "a path or a label is missing",
         "each line must be: PATH LABEL; a list of labels in the order of the images' names is converted by "
         "ls IMAGE_FOLDER | paste - LIST");
}

}  // namespace

ClassMap parse_class_map(std::string_view text, const std::filesystem::path& path, bool merge) {
  ClassMap map;
  std::map<std::string, std::int32_t> labels;
  for (const TextLine& line : lines_of(text, path)) {
    const std::string_view whole = without_blanks(line.text);
    const std::size_t cut =
        std::min(whole.find('\t') != std::string_view::npos ? whole.find('\t') : whole.find(' '), whole.size());
    const std::string folder(without_blanks(whole.substr(0, cut)));
    const std::string_view given = without_blanks(whole.substr(cut));
    const std::string name(given.empty() ? std::string_view(folder) : given);
    const auto [label, is_new] = labels.emplace(name, static_cast<std::int32_t>(labels.size()));
    if (is_new) {
      map.class_names.push_back(name);
    } else if (!merge) {
      refuse(path, line, fmt::format("the class name {} is used for two folders", quoted_name(name)),
             "give each folder another name, or make them one class with --merge-classes");
    }
    if (!map.label_of.emplace(folder, label->second).second) {
      refuse(path, line, fmt::format("the folder {} is listed twice", quoted_name(folder)));
    }
  }
  if (map.class_names.empty()) {
    throw usage_error(fmt::format("{} names no classes", path.string()), "each line must be: FOLDER CLASS NAME");
  }
  return map;
}

LabelledFiles parse_labels(std::string_view text, const std::filesystem::path& path, const ClassMap* map,
                           ClassOrder order) {
  LabelledFiles result;
  std::vector<TextLine> lines = lines_of(text, path);
  std::vector<std::string_view> words;
  std::set<std::string> seen;
  for (const TextLine& line : lines) {
    const std::size_t tab = line.text.rfind('\t');
    const std::string_view whole = tab == std::string_view::npos ? without_blanks(line.text) : line.text;
    const std::size_t cut = tab == std::string_view::npos ? whole.rfind(' ') : tab;
    if (cut == std::string_view::npos) {
      refuse_single_word(path, line, whole);
    }
    const std::string_view file = without_blanks(whole.substr(0, cut));
    words.push_back(without_blanks(whole.substr(cut)));
    if (file.empty() || words.back().empty()) {
      refuse(path, line, file.empty() ? "a path is missing" : "a label is missing", "each line must be: PATH LABEL");
    }
    const std::filesystem::path below(file);
    if (below.is_absolute() || std::find(below.begin(), below.end(), "..") != below.end()) {
      refuse(path, line, fmt::format("{} does not lie below --data-path", quoted_name(file)),
             "paths must be relative to it, without ..");
    }
    if (!seen.insert(below.lexically_normal().string()).second) {  // "./a.jpg" is "a.jpg"
      refuse(path, line, fmt::format("{} is listed twice", quoted_name(file)));
    }
    result.paths.emplace_back(file);
  }
  if (lines.empty()) {
    throw usage_error(fmt::format("{} lists no files", path.string()), "each line must be: PATH LABEL");
  }
  if (map != nullptr) {
    result.class_names = map->class_names;
    result.by_number = true;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      result.labels.push_back(label_of(*map, words[i], path, lines[i]));
      result.by_number = result.by_number && whole_number(words[i]);
    }
    return result;
  }
  if (whole_number(words.front())) {
    result.by_number = true;
    std::int64_t largest = 0;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const auto number = whole_number(words[i]);
      if (!number || *number >= kMostClasses) {
        refuse(path, lines[i], fmt::format("the label {} is not the number of a class", quoted_name(words[i])),
               "the labels must be all numbers or all names");
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
  sort_class_names(result.class_names, order);
  std::map<std::string_view, std::int32_t> label_of_name;
  for (std::size_t label = 0; label < result.class_names.size(); ++label) {
    label_of_name.emplace(result.class_names[label], static_cast<std::int32_t>(label));
  }
  for (const std::string_view word : words) {
    result.labels.push_back(label_of_name.at(word));
  }
  return result;
}

}  // namespace maskedkd
