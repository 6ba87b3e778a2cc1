// Damage to any byte of a checkpoint is noticed and reported, and the previous checkpoint is loaded.
#include "example.hpp"
#include "maskedkd/io/digest.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace maskedkd::testing {
namespace {

const std::vector<std::string> kFiles = {"model.safetensors", "optimizer.safetensors", "ema.safetensors", "state.json",
                                         "manifest.json"};

class Damage : public ::testing::Test {
 protected:
  void SetUp() override {
    save_checkpoint(root_.lease(), root_.path(), example_state(10));
    newest_ = save_checkpoint(root_.lease(), root_.path(), example_state(20));
  }
  // Whether the previous checkpoint is loaded instead of the newest, with a message that names folder and file.
  ::testing::AssertionResult falls_back(const std::string& file) {
    std::vector<std::string> messages;
    const auto found = find_newest_checkpoint(root_.path(), [&](const std::string& what) { messages.push_back(what); });
    if (!found || !is_example_state(*found, 10)) {
      return ::testing::AssertionFailure() << (found ? "took the damaged one" : "found none");
    }
    if (messages.size() != 1 || messages[0].find("step-000000020") == std::string::npos ||
        messages[0].find(file) == std::string::npos) {
      return ::testing::AssertionFailure()
             << "reported " << messages.size() << ": " << (messages.empty() ? "" : messages[0]);
    }
    try {
      load_checkpoint(newest_);
    } catch (const Error& error) {
      return error.code() == ExitCode::usage ? ::testing::AssertionSuccess()
                                             : ::testing::AssertionFailure() << "another exit code";
    }
    return ::testing::AssertionFailure() << "loaded";
  }

  RunFolder root_;
  fs::path newest_;
};

// Random bits of every file, half of them in its first 1024 bytes (texts and headers). MASKEDKD_FLIPS=N sets the number
// of flips per file.
TEST_F(Damage, RandomlyFlippedBitsAreNoticed) {
  const int flips = count_from_environment("MASKEDKD_FLIPS", 150);
  std::mt19937 random(99);
  for (const std::string& name : kFiles) {
    const std::string sound = read_bytes(newest_ / name);
    for (int i = 0; i < flips; ++i) {
      std::string damaged = sound;
      const std::size_t range = i % 2 == 0 ? std::min<std::size_t>(sound.size(), 1024) : sound.size();
      const std::size_t at = random() % range;
      const int bit = static_cast<int>(random() % 8);
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      write_bytes(newest_ / name, damaged);
      ASSERT_TRUE(falls_back(name)) << name << " byte " << at << " bit " << bit;
    }
    write_bytes(newest_ / name, sound);
    ASSERT_TRUE(is_example_state(load_checkpoint(newest_), 20));
  }
}

std::string without_blanks(std::string text) {
  text.erase(std::remove_if(text.begin(), text.end(), [](char c) { return c == ' ' || c == '\n'; }), text.end());
  return text;
}

// Damage by a full disk, a cut cable or a power cut: a file that ends early or in zeros, or of which a block is
// missing, repeated or misplaced. MASKEDKD_FLIPS=N sets the number of cases per file.
TEST_F(Damage, RandomCutsAreNoticed) {
  const int cuts = count_from_environment("MASKEDKD_FLIPS", 150);
  std::mt19937 random(7);
  for (const std::string& name : kFiles) {
    const std::string sound = read_bytes(newest_ / name);
    const std::size_t size = sound.size() - 1;  // the manifest's last byte, a newline, is not needed
    for (int i = 0; i < cuts; ++i) {
      const std::size_t at = random() % size;
      const std::size_t length = 1 + random() % std::min<std::size_t>(size - at, 200);
      const std::size_t other = random() % (size - length + 1);
      const std::string block = sound.substr(at, length);
      std::string damaged = sound;
      switch (i % 5) {
        case 0:
          damaged.resize(at);
          break;
        case 1:
          damaged.resize(at);
          damaged.resize(sound.size());
          break;
        case 2:
          damaged.erase(at, length);
          break;
        case 3:
          damaged.insert(at + length, block);
          break;
        default:  // two blocks are swapped
          damaged.replace(at, length, sound, other, length);
          damaged.replace(other, length, block);
      }
      if (damaged == sound || (name == "manifest.json" && without_blanks(damaged) == without_blanks(sound))) {
        continue;  // nothing changed: a block of equal bytes, or equivalent JSON
      }
      write_bytes(newest_ / name, damaged);
      ASSERT_TRUE(falls_back(name)) << name << " kind " << i % 5 << " at " << at << ", " << length << " bytes";
    }
    write_bytes(newest_ / name, sound);
    ASSERT_TRUE(is_example_state(load_checkpoint(newest_), 20));
  }
}

TEST_F(Damage, TruncatedEmptyLongerAndMissingFilesAreNoticed) {
  for (const std::string& name : kFiles) {
    const std::string sound = read_bytes(newest_ / name);
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, sound.size() / 2, sound.size() - 2}) {
      write_bytes(newest_ / name, sound.substr(0, size));
      EXPECT_TRUE(falls_back(name)) << name << " cut to " << size;
    }
    write_bytes(newest_ / name, sound + "x");
    EXPECT_TRUE(falls_back(name)) << name << " longer";
    write_bytes(newest_ / name, std::string(sound.size(), '\0'));  // what a power cut may leave
    EXPECT_TRUE(falls_back(name)) << name << " zeros";
    fs::remove(newest_ / name);
    EXPECT_TRUE(falls_back(name)) << name << " missing";
    fs::create_directory(newest_ / name);
    EXPECT_TRUE(falls_back(name)) << name << " is a folder";
    fs::remove(newest_ / name);
    write_bytes(newest_ / name, sound);
  }
  ASSERT_TRUE(is_example_state(load_checkpoint(newest_), 20));
}

TEST_F(Damage, FilesOfAnotherCheckpointAreNoticed) {
  for (const std::string& name : kFiles) {
    const std::string sound = read_bytes(newest_ / name);
    write_bytes(newest_ / name, read_bytes(checkpoint_path(root_.path(), 10) / name));
    EXPECT_TRUE(falls_back(name == "manifest.json" ? "safetensors" : name)) << name;
    write_bytes(newest_ / name, sound);
  }
}

TEST_F(Damage, AnEmptyFolderOfACheckpointIsSkipped) {
  fs::create_directory(root_.path() / "step-000000030");
  std::vector<std::string> messages;
  const auto found = find_newest_checkpoint(root_.path(), [&](const std::string& what) { messages.push_back(what); });
  EXPECT_TRUE(found && is_example_state(*found, 20));
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_NE(messages[0].find("step-000000030"), std::string::npos) << messages[0];
}

// A run whose checkpoints are all damaged must not silently start from the beginning.
TEST_F(Damage, AllDamagedIsAnErrorAndEachIsReported) {
  fs::resize_file(newest_ / "model.safetensors", 100);
  fs::remove(checkpoint_path(root_.path(), 10) / "manifest.json");
  int num_messages = 0;
  const std::string message =
      error_of([&] { find_newest_checkpoint(root_.path(), [&](const std::string&) { ++num_messages; }); });
  EXPECT_NE(message.find("none of the 2 checkpoints in"), std::string::npos) << message;
  EXPECT_EQ(num_messages, 2);
}

// Writes a newer format version with a valid checksum, as a later version of this program would.
void make_newer(const fs::path& checkpoint) {
  auto manifest = nlohmann::json::parse(read_bytes(checkpoint / "manifest.json"));
  manifest.erase("manifest_sha256");
  manifest["format_version"] = kCheckpointFormatVersion + 1;
  manifest["manifest_sha256"] = sha256_of_text(manifest.dump());
  write_bytes(checkpoint / "manifest.json", manifest.dump(2) + "\n");
}

TEST_F(Damage, ANewerFormatIsAnErrorNotDamage) {
  make_newer(newest_);
  for (const auto& work : std::vector<std::function<void()>>{
           [&] { load_checkpoint(newest_); }, [&] { find_newest_checkpoint(root_.path(), nothing_is_damaged); }}) {
    const std::string message = error_of(work);
    EXPECT_NE(message.find("format 2"), std::string::npos) << message;
    EXPECT_EQ(message.find("damaged"), std::string::npos) << message;
  }
}

TEST_F(Damage, ANewerFormatIsNeverOverwritten) {
  make_newer(newest_);
  const std::string before = read_bytes(newest_ / "manifest.json");
  EXPECT_NE(error_of([&] { save_checkpoint(root_.lease(), root_.path(), example_state(20)); }).find("format 2"),
            std::string::npos);
  EXPECT_EQ(read_bytes(newest_ / "manifest.json"), before);
}

}  // namespace
}  // namespace maskedkd::testing
