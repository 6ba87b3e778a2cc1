// Comparison of class names: which differences are found, and how they are reported.
#include "maskedkd/model/class_names.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace maskedkd::testing {
namespace {

// café, with its last letter as one character and as an e with a combining acute accent.
constexpr const char* kComposed = "caf\xC3\xA9";
constexpr const char* kDecomposed = "cafe\xCC\x81";

std::string text_of(const ClassNames& expected, const ClassNames& given) {
  const auto difference = class_difference(expected, given);
  return difference ? difference->text : "the same";
}

TEST(ClassNames, TheSameNamesInTheSameOrderDoNotDiffer) {
  EXPECT_EQ(text_of({"ant", "bee"}, {"ant", "bee"}), "the same");
  EXPECT_EQ(text_of({"ant", "bee"}, {"ant", "bee", "cat"}), "the same") << "only labels of both are compared";
  EXPECT_EQ(text_of({"ant", "bee", "cat"}, {"ant", "bee"}), "the same");
  EXPECT_EQ(text_of({}, {"ant", "bee"}), "the same") << "nothing is known";
}

TEST(ClassNames, AnotherOrderIsReported) {
  EXPECT_EQ(text_of({"ant", "bee"}, {"bee", "ant"}),
            "the same names in another order; 2 of 2 labels mean another class, the first is label 0: 'bee' instead of "
            "'ant'");
  EXPECT_EQ(
      text_of({"0", "1", "2", "10"}, {"0", "1", "10", "2"}),
      "the same names in another order; 2 of 4 labels mean another class, the first is label 2: '10' instead of '2'");
  EXPECT_TRUE(class_difference({"ant", "bee"}, {"bee", "ant"})->reordered);
  EXPECT_FALSE(class_difference({"ant", "bee"}, {"bee", "cat"})->reordered);
}

TEST(ClassNames, MissingAdditionalAndOtherNamesAreReported) {
  EXPECT_EQ(text_of({"ant", "bee", "cat", "dog"}, {"ant", "cat", "dog"}),
            "it lacks 1 ('bee'); 2 of 3 labels mean another class, the first is label 1: 'cat' instead of 'bee'");
  EXPECT_EQ(text_of({"bee", "cat"}, {"ant", "bee", "cat"}),
            "it has 1 more ('ant'); 2 of 2 labels mean another class, the first is label 0: 'ant' instead of 'bee'");
  EXPECT_EQ(text_of({"ant", "bee", "cat", "dog", "elk"}, {"ant", "yak"}),
            "it lacks 4 ('bee', 'cat', 'dog', ...) and has 1 more ('yak'); 1 of 2 labels mean another class, the first "
            "is label 1: 'yak' instead of 'bee'");
  EXPECT_EQ(
      text_of({"n01440764", "n01443537"}, {"tench", "goldfish"}),
      "no name is in both; 2 of 2 labels mean another class, the first is label 0: 'tench' instead of 'n01440764'");
}

TEST(ClassNames, NamesWithTheSameWordNetIdAreTheSame) {
  EXPECT_EQ(text_of({"n01440764", "n01443537"}, {"n01440764 tench, Tinca tinca", "n01443537_goldfish"}), "the same");
  EXPECT_NE(text_of({"n01440764", "n01443537"}, {"n01443537 goldfish", "n01440764 tench"}).find("another order"),
            std::string::npos);
  // These are not WordNet ids: they have a digit more, another letter, a digit less.
  EXPECT_NE(text_of({"n014407640"}, {"n014407641"}), "the same");
  EXPECT_NE(text_of({"m01440764 a"}, {"m01440764 b"}), "the same");
  EXPECT_NE(text_of({"n0144076 a"}, {"n0144076 b"}), "the same");
}

TEST(ClassNames, AnotherUnicodeNormalisationIsShown) {
  const std::string expected = std::string("1 of 2 names is written differently, '") + kDecomposed + "' instead of '" +
                               kComposed + "', the same text in another Unicode normalisation " +
                               "(U+0065 U+0301 instead of U+00E9)";
  EXPECT_EQ(text_of({"bar", kComposed}, {"bar", kDecomposed}), expected);
  // The bytes of one name sort before "cafz", those of the other after it.
  EXPECT_EQ(text_of({"cafz", kComposed}, {kDecomposed, "cafz"}),
            expected + "; 2 of 2 labels mean another class, the first is label 0: '" + kDecomposed +
                "' instead of 'cafz'" + " (U+0065 U+0301 instead of U+007A)");
  EXPECT_EQ(
      text_of({"\xEA\xB0\x95"}, {"\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xBC"}),  // Hangul
      "1 of 1 names is written differently, '\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xBC' instead of '\xEA\xB0\x95', the "
      "same text in another Unicode normalisation (U+1100 U+1161 U+11BC instead of U+AC15)");
}

TEST(ClassNames, BlanksAndCaseAreShown) {
  EXPECT_EQ(text_of({"dog"}, {"dog "}),
            "1 of 1 names is written differently, 'dog ' instead of 'dog', the same text but for blanks or joining "
            "characters (U+0020 instead of nothing)");
  EXPECT_EQ(text_of({"great white"}, {"great\xC2\xA0white"}),
            "1 of 1 names is written differently, 'great\xC2\xA0white' instead of 'great white', the same text but for "
            "blanks or joining characters (U+00A0 instead of U+0020)");
  EXPECT_EQ(text_of({"dog"}, {"\xEF\xBB\xBF"
                              "dog"}),
            "1 of 1 names is written differently, '\xEF\xBB\xBF"
            "dog' instead of 'dog', the same text but for blanks or "
            "joining characters (U+FEFF instead of nothing)");
  EXPECT_NE(text_of({"great_white"}, {"great white"}).find("but for blanks or joining"), std::string::npos);
  EXPECT_EQ(text_of({"dog", "Cat"}, {"Dog", "cat"}),
            "2 of 2 names are written differently, 'Dog' instead of 'dog', the same text but for upper and lower case");
  EXPECT_NE(text_of({"\xC3\x89t\xC3\xA9"}, {"e\xCC\x81te\xCC\x81"}).find("upper and lower case"), std::string::npos);
  EXPECT_NE(text_of({"\xCE\xA9"}, {"\xCF\x89"}).find("upper and lower case"), std::string::npos);  // omega
  EXPECT_NE(text_of({"Great White"}, {"great_white"}).find("but for case and blanks"), std::string::npos);
}

TEST(ClassNames, LettersThatLookAlikeAreShownByTheirCodePoints) {
  const std::string text = text_of({"cat", "dog"}, {"c\xD0\xB0t", "dog"});  // a Cyrillic a
  EXPECT_NE(text.find("(U+0430 instead of U+0061)"), std::string::npos) << text;
  const std::string control = text_of({"a?b"}, {"a\tb"});  // which a message shows as a?b
  EXPECT_NE(control.find("(U+0009 instead of U+003F)"), std::string::npos) << control;
  const std::string long_name(200, 'x');  // of which a message shows the beginning
  const std::string cut = text_of({long_name + "1"}, {long_name + "2"});
  EXPECT_NE(cut.find("(U+0032 instead of U+0031)"), std::string::npos) << cut;
  EXPECT_LT(cut.size(), 700U);
  EXPECT_EQ(text_of({"a\nb"}, {"c\nd"}).find('\n'), std::string::npos) << "one line";
}

TEST(ClassNames, ImageNetsSynsetsAreRecognised) {
  ClassNames names;
  for (int i = 0; i < 1000; ++i) {
    names.push_back(fmt::format("n{}{}", 10'000'000 + 7 * i, i % 2 == 0 ? "" : " something"));
  }
  EXPECT_TRUE(are_imagenet_synsets(names));
  EXPECT_TRUE(are_imagenet_synsets_in_order(names));
  std::swap(names[3], names[4]);
  EXPECT_TRUE(are_imagenet_synsets(names));
  EXPECT_FALSE(are_imagenet_synsets_in_order(names));
  names[3] = names[4];
  EXPECT_FALSE(are_imagenet_synsets(names)) << "999 different ones";
  names[3] = "tench";
  EXPECT_FALSE(are_imagenet_synsets(names));
  names.pop_back();
  EXPECT_FALSE(are_imagenet_synsets(names));
}

TEST(ClassNames, AreWrittenToAndReadFromMetadataOfWeights) {
  const ClassNames names = {"ant", "a \"quoted\" name, with a comma", kDecomposed, "n01440764 tench"};
  EXPECT_EQ(class_names_in(class_metadata(names)), names);
  EXPECT_EQ(class_names_in({{"format", "pt"}}), ClassNames());
  for (const char* others : {"ant,bee", "{\"0\": \"ant\"}", "[0, 1]", "[", "", "\"ant\""}) {  // of other programs
    EXPECT_EQ(class_names_in({{"class_names", others}}), ClassNames()) << others;
  }
}

}  // namespace
}  // namespace maskedkd::testing
