// Texts in other encodings are made by iconv; the command in the error's hint is executed.
#include "maskedkd/base/text_lines.hpp"

#include "maskedkd/base/error.hpp"
#include "support/process.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

namespace maskedkd::testing {
namespace {

using namespace std::string_view_literals;

std::vector<std::string> texts_of(std::string_view text) {
  std::vector<std::string> texts;
  for (const TextLine& line : lines_of_text(text, "FILE")) {
    texts.emplace_back(line.text);
    EXPECT_EQ(line.number, static_cast<int>(texts.size()));
  }
  return texts;
}

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string refusal_of(std::string_view text, std::string* hint = nullptr, const std::string& name = "FILE") {
  try {
    lines_of_text(text, name);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    if (hint != nullptr) {
      *hint = error.hint();
    }
    return error.what();
  }
  return "";
}

TEST(TextLines, EveryKindOfLineEndGivesTheSameLines) {
  const std::vector<std::string> expected = {"n01 a b", "", "n02 \xC3\xA9", "n03"};
  for (const char* text :
       {"n01 a b\n\nn02 \xC3\xA9\nn03", "n01 a b\n\nn02 \xC3\xA9\nn03\n", "n01 a b\r\n\r\nn02 \xC3\xA9\r\nn03\r\n",
        "n01 a b\r\rn02 \xC3\xA9\rn03", "n01 a b\r\n\nn02 \xC3\xA9\rn03\n"}) {
    EXPECT_EQ(texts_of(text), expected) << text;
  }
  EXPECT_TRUE(texts_of("").empty());
}

TEST(TextLines, AByteOrderMarkIsSkippedAlsoWhereMarkedFilesWereJoined) {
  EXPECT_EQ(texts_of("\xEF\xBB\xBF"
                     "a\n\xEF\xBB\xBF"
                     "b\n"),
            (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(texts_of("\xEF\xBB\xBF"), (std::vector<std::string>{""}));
  EXPECT_EQ(texts_of("a\xEF\xBB\xBF\n"), (std::vector<std::string>{"a\xEF\xBB\xBF"})) << "only before a line";
}

TEST(TextLines, OtherEncodingsAreNamedAndTheHintConvertsThem) {
  const TemporaryDirectory folder;
  const std::string utf8 = (folder.path() / "utf8").string(), other = (folder.path() / "other").string();
  std::ofstream(utf8) << "n01 caf\xC3\xA9\nn02\n";
  for (const std::string encoding : {"UTF-16", "UTF-16LE", "UTF-16BE", "UTF-32", "UTF-32LE", "UTF-32BE"}) {
    ASSERT_EQ(run_process({"sh", "-c", "iconv -f UTF-8 -t " + encoding + " " + utf8 + " > " + other}).exit_code, 0);
    std::string hint;
    EXPECT_EQ(refusal_of(content_of(other), &hint, other), other + " is text in " + encoding + ", not in UTF-8");
    const std::string command = hint.substr(hint.find("iconv"));
    const std::string fixed = (folder.path() / "fixed").string();
    const std::size_t target = command.find("NEW_FILE");
    ASSERT_NE(target, std::string::npos) << hint;
    ASSERT_EQ(run_process({"sh", "-c", command.substr(0, target) + fixed}).exit_code, 0) << hint;
    EXPECT_EQ(content_of(fixed), content_of(utf8)) << encoding;
  }
}

TEST(TextLines, BinaryFilesAreRefused) {
  EXPECT_EQ(refusal_of("a\nb\0c\n"sv), "FILE:2: a NUL byte: this is not a text file");
  EXPECT_EQ(refusal_of("\x1F\x8B\x08\x00"sv), "FILE is compressed, not plain text");
  EXPECT_EQ(refusal_of("PK\x03\x04"), "FILE is compressed, not plain text");
  EXPECT_EQ(refusal_of("caf\xE9 0\n"), "") << "a name of another encoding is a name";
}

TEST(TextLines, BlanksAtBothEndsAreRemoved) {
  EXPECT_EQ(without_blanks(" \t a b\t "), "a b");
  EXPECT_EQ(without_blanks(" \t"), "");
  EXPECT_EQ(without_blanks(""), "");
}

}  // namespace
}  // namespace maskedkd::testing
