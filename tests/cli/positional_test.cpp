#include "maskedkd/base/error.hpp"
#include "maskedkd/cli/options.hpp"
#include "support/contains.hpp"

#include <gtest/gtest.h>

#include <sstream>

namespace maskedkd {
namespace {

struct Convert {
  std::filesystem::path in, out, log = "default.log";
  std::string to = "timm";
  bool overwrite = false;

  // Parses `maskedkd_try convert WORDS...`; sets help if --help is given.
  void parse(const std::vector<std::string>& words) {
    CommandLine line("maskedkd_try convert", "Converts a file.", "maskedkd_try convert a b --to meta");
    line.positional("IN", in, "what is read: " + std::string(60, 'x') + " " + std::string(60, 'y'))
        .positional("OUT", out, "what is written")
        .positional("LOG", log, "file for messages", /*is_required=*/false)
        .group("Conversion")
        .option("to", to, "timm or meta")
        .option("overwrite", overwrite, "replace OUT");
    std::vector<const char*> argv = {"convert"};
    for (const std::string& word : words) {
      argv.push_back(word.c_str());
    }
    wants_to_run = line.parse(static_cast<int>(argv.size()), argv.data());
    help = line.help();
    resolved = line.resolved();
  }

  bool wants_to_run = false;
  std::string help;
  OptionTexts resolved;
};

Convert parsed(const std::vector<std::string>& words) {
  Convert convert;
  convert.parse(words);
  return convert;
}

std::string refusal(const std::vector<std::string>& words) {
  try {
    parsed(words);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    const std::string text = fmt::format("{}; {}", error.what(), error.hint());
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    return text;
  }
  return "nothing was refused";
}

TEST(Positional, ArgumentsAreTakenInOrderBetweenAnyFlags) {
  const std::vector<std::vector<std::string>> ways = {{"a_b", "c", "--to", "meta", "--overwrite"},
                                                      {"--to", "meta", "--overwrite", "a_b", "c"},
                                                      {"a_b", "--overwrite", "--to=meta", "c"},
                                                      {"a_b", "--overwrite", "true", "c", "--to", "meta"},
                                                      {"--overwrite=on", "a_b", "c", "--to", "meta"}};
  for (const auto& words : ways) {
    const Convert convert = parsed(words);
    EXPECT_TRUE(convert.wants_to_run);
    EXPECT_EQ(convert.in, "a_b");
    EXPECT_EQ(convert.out, "c");
    EXPECT_EQ(convert.to, "meta");
    EXPECT_TRUE(convert.overwrite);
    EXPECT_EQ(convert.log, "default.log");
  }
  EXPECT_FALSE(parsed({"a", "--overwrite", "no", "c"}).overwrite);
  EXPECT_EQ(parsed({"a", "b", "c"}).log, "c");
  EXPECT_EQ(parsed({"a=1", "./--to"}).in, "a=1");
}

TEST(Positional, MissingOrTooManyArgumentsGiveOneLineWithTheSyntax) {
  EXPECT_CONTAINS(refusal({}), "IN is missing; maskedkd_try convert IN OUT [LOG]; see maskedkd_try convert --help");
  EXPECT_CONTAINS(refusal({"a"}), "OUT is missing");
  EXPECT_CONTAINS(refusal({"a", "--to", "meta"}), "OUT is missing");
  EXPECT_CONTAINS(refusal({"", "b"}), "IN is missing");
  EXPECT_CONTAINS(refusal({"a", "b", "c", "d"}), "unexpected argument 'd'; maskedkd_try convert IN OUT [LOG]");
  EXPECT_CONTAINS(refusal({"a", "-v", "b"}), "unexpected argument '-v'");
  EXPECT_CONTAINS(refusal({"a", "b", "--too", "meta"}), "unknown option --too; did you mean --to?");
  EXPECT_CONTAINS(refusal({"a", "b", "--to"}), "--to has no value");
}

TEST(Positional, HelpShowsArgumentsAndNeedsNone) {
  const Convert convert = parsed({"--help"});
  EXPECT_FALSE(convert.wants_to_run);
  std::size_t position = 0;
  for (const char* part : {"Converts a file.", "Usage:\n  maskedkd_try convert IN OUT [LOG] [--option VALUE]...",
                           "For example", "Arguments:", "  IN   what is read: xx", "\n       yy",
                           "  OUT  what is written\n", "Conversion:", "--to", "--help"}) {
    const std::size_t found = convert.help.find(part, position);
    ASSERT_NE(found, std::string::npos) << part << " in\n" << convert.help;
    position = found;
  }
  std::istringstream lines(convert.help);
  for (std::string text; std::getline(lines, text);) {
    EXPECT_LE(text.size(), 110U) << text;
  }
}

TEST(Positional, ArgumentsCanNotBeGivenAsFlags) {
  const OptionTexts expected = {{"to", "timm"}, {"overwrite", "false"}};
  EXPECT_EQ(parsed({"a", "b"}).resolved, expected);
  EXPECT_CONTAINS(refusal({"a", "--OUT", "b"}), "unknown option --OUT");
}

}  // namespace
}  // namespace maskedkd
