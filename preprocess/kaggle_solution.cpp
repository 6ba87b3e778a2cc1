#include "preprocess/kaggle_solution.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/base/text_lines.hpp"

#include <sstream>
#include <vector>

namespace maskedkd {
namespace {

constexpr std::string_view kHeader = "ImageId,PredictionString";
constexpr std::size_t kWordsOfObject = 5;  // class folder, x_min, y_min, x_max, y_max

[[noreturn]] void refuse(const std::string& name, int line, const std::string& why, const std::string& hint = {}) {
  throw usage_error(fmt::format("{}:{}: {}", name, line, why), hint);
}

std::string file_of(const std::string& image, const std::filesystem::path& root, const std::string& name, int line) {
  std::string found;
  for (const char* ending : {".JPEG", ".jpg", ".jpeg", ".png"}) {
    std::error_code unreachable;
    if (!std::filesystem::exists(root / (image + ending), unreachable)) {
      continue;
    }
    if (!found.empty()) {
      refuse(name, line,
             fmt::format("{} is ambiguous: both {} and {}{} exist", quoted_name(image), found, image, ending),
             "move one of them to another folder");
    }
    found = image + ending;
  }
  if (found.empty()) {
    refuse(name, line,
           fmt::format("{} contains no {}.JPEG (nor .jpg, .jpeg, .png)", root.string(), printable_name(image)),
           "--data-path must be the folder that contains the images");
  }
  return found;
}

std::string class_of_objects(std::string_view objects, const std::string& name, int line) {
  std::istringstream text{std::string(objects)};
  std::vector<std::string> words;
  for (std::string word; text >> word;) {
    words.push_back(word);
  }
  if (words.empty() || words.size() % kWordsOfObject != 0) {
    refuse(name, line, "expected objects, each of them a class folder and a box of four numbers",
           "download LOC_val_solution.csv again");
  }
  for (std::size_t i = kWordsOfObject; i < words.size(); i += kWordsOfObject) {
    if (words[i] != words[0]) {
      refuse(name, line, fmt::format("objects of two classes, {} and {}", quoted_name(words[0]), quoted_name(words[i])),
             "here an image has one class: write a list of lines PATH LABEL instead");
    }
  }
  return words[0];
}

}  // namespace

bool is_kaggle_solution(std::string_view text) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  text.remove_prefix(text.starts_with(kMark) ? kMark.size() : 0);
  return text.starts_with(kHeader);
}

std::string labels_of_kaggle_solution(std::string_view text, const std::filesystem::path& path,
                                      const std::filesystem::path& root) {
  std::string labels;
  for (const TextLine& line : lines_of_text(text, path.string())) {
    const std::string_view whole = without_blanks(line.text);
    if (!whole.empty() && whole != kHeader) {
      const std::size_t comma = whole.find(',');
      if (comma == std::string_view::npos) {
        refuse(path.string(), line.number, "a comma is missing",
               fmt::format("the format of the lines is that of the header: {}", kHeader));
      }
      const std::string image(without_blanks(whole.substr(0, comma)));
      labels += fmt::format("{}\t{}", file_of(image, root, path.string(), line.number),
                            class_of_objects(whole.substr(comma + 1), path.string(), line.number));
    }
    labels += '\n';
  }
  return labels;
}

}  // namespace maskedkd
