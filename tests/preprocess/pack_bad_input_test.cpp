// Mistakes of users give one clear line and an exit code other than 0 within 10 seconds, on two ranks.
#include "maskedkd/io/posix.hpp"
#include "pack_program.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <fstream>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

void expect_refused(int ranks, const std::vector<std::string>& arguments, const std::string& message) {
  const ProcessResult result = run_pack(ranks, arguments);
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_LT(result.seconds, 10);
  EXPECT_NE(result.output.find(message), std::string::npos) << "'" << result.output << "' instead of " << message;
  EXPECT_EQ(count_of(result.output, " error "), 1u) << result.output;
  EXPECT_EQ(count_of(result.output, "terminate called"), 0u) << result.output;
}

TEST(PackBadInput, WrongPathsAndOptionsGiveOneLine) {
  const TemporaryDirectory folder;
  const auto make = [&](const std::string& name) {
    fs::create_directories(folder.path() / name);
    return (folder.path() / name).string();
  };
  const std::string out = (folder.path() / "out").string(), plain = reference_path("plain").string();
  const std::string nowhere = (folder.path() / "nowhere").string();
  expect_refused(2, {"--data-path", nowhere, "--output-dir", out}, "nowhere is not a folder");
  expect_refused(2, {"--data-path", make("empty"), "--output-dir", out}, "empty contains no class folders");
  make("texts/class");
  std::ofstream(folder.path() / "texts/class/notes.txt") << "x";
  expect_refused(2, {"--data-path", (folder.path() / "texts").string(), "--output-dir", out},
                 "class contains no images; images end in .jpg, .jpeg or .png");
  std::ofstream(folder.path() / "file") << "x";
  expect_refused(2, {"--data-path", plain, "--output-dir", (folder.path() / "file/out").string()},
                 "can't create the folder");
  expect_refused(0, {"--data-path", plain, "--output-dir", (folder.path() / "file").string()}, "file");
  expect_refused(2, {"--data-pth", plain, "--output-dir", out}, "unknown option --data-pth; did you mean --data-path?");
  expect_refused(0, {"--data-path", plain, "--output-dir", plain + "/shards"}, "lies inside --data-path");
  for (const std::string flag : {"--labels-file", "--class-map"}) {
    expect_refused(2, {"--data-path", plain, "--output-dir", out, flag, nowhere},
                   flag + ": " + nowhere + " is not a file");
  }
  expect_refused(0, {"--data-path", plain}, "--output-dir is missing");
  expect_refused(0, {"--output-dir", out}, "--data-path is missing");
  expect_refused(0, {"--data-path", plain, "--output-dir", out, "--records-per-shard", "0"}, "--records-per-shard 0");
  EXPECT_FALSE(fs::exists(out) && fs::exists(fs::path(out) / "index.json"));
  EXPECT_FALSE(fs::exists(plain + "/shards"));
}

TEST(PackBadInput, InvalidValuesAreRefusedByOneRankToo) {
  const std::string plain = reference_path("plain").string();
  for (const auto& [arguments, message] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--source", "tar"}, "choose from imagefolder, idx"},
           {{"--on-broken", "ignore"}, "choose from fatal, skip"},
           {{"--check", "maybe"}, "choose from structure, decode"},
           {{"--shard-size", "1 parsec"}, "'1 parsec' is not a size"},
           {{"--shard-size", "1GiB", "--records-per-shard", "9"}, "exclude each other"},
           {{"--quality", "90"}, "--quality applies only to resized JPEG images"},
           {{"--threads", "-1"}, "--threads -1 is outside"},
           {{"--records-per-shard", "many"}, "'many' is not a whole number"},
           {{"--records-per-shard", "99999999999999999999"}, "out of range"},
           {{"--images", "x"}, "--images belongs to --source idx"},
           {{"--source", "idx", "--data-path", plain}, "--data-path belongs to --source imagefolder"},
           {{"--source", "idx"}, "--images and --labels are both needed"},
           {{"--source", "idx", "--decoded"}, "--decoded belongs to --source imagefolder"},
           {{"stray"}, "unexpected argument 'stray'"}}) {
    std::vector<std::string> all = {"--output-dir", "/tmp/maskedkd-never-made"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    expect_refused(0, all, message);
  }
  EXPECT_FALSE(fs::exists("/tmp/maskedkd-never-made"));
}

TEST(PackBadInput, HelpShowsOptionsAndIsPrintedByOneRank) {
  const ProcessResult result = run_pack(2, {"pack", "--help"});
  EXPECT_EQ(result.exit_code, 0) << result.output;
  for (const char* part : {"Packs images", "For example", "srun -n", "--data-path", "--output-dir", "--on-broken",
                           "[fatal]", "[256MiB]", "Source", "Shards"}) {
    EXPECT_NE(result.output.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(count_of(result.output, "--records-per-shard"), 1u) << "printed by one rank";
  for (std::size_t begin = 0, end; begin < result.output.size(); begin = end + 1) {
    end = std::min(result.output.find('\n', begin), result.output.size());
    EXPECT_LE(end - begin, 120u) << result.output.substr(begin, end - begin);
  }
}

}  // namespace
}  // namespace maskedkd::testing
