// Forged manifests with a valid SHA-256: they may list only files in the checkpoint's folder.
#include "example.hpp"
#include "maskedkd/io/digest.hpp"

#include <nlohmann/json.hpp>

namespace maskedkd::testing {
namespace {

class HostileManifest : public ::testing::Test {
 protected:
  void SetUp() override {
    checkpoint_ = save_checkpoint(root_.lease(), root_.path(), example_state(20));
    sound_ = nlohmann::json::parse(read_bytes(checkpoint_ / "manifest.json"));
  }
  // The message for a manifest that is sealed with its SHA-256 as save_checkpoint does.
  std::string message_of(nlohmann::json manifest) {
    manifest.erase("manifest_sha256");
    manifest["manifest_sha256"] = sha256_of_text(manifest.dump());
    return message_of_text(manifest.dump(2));
  }
  std::string message_of_text(const std::string& text) {
    write_bytes(checkpoint_ / "manifest.json", text);
    const std::string message = error_of([&] { load_checkpoint(checkpoint_); });
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_NE(message.find(checkpoint_.string() + " is damaged: manifest.json "), std::string::npos) << message;
    return message;
  }

  RunFolder root_;
  fs::path checkpoint_;
  nlohmann::json sound_;
};

::testing::AssertionResult has(const std::string& message, const std::string& part) {
  return (message.find(part) != std::string::npos ? ::testing::AssertionSuccess() : ::testing::AssertionFailure())
         << message;
}

TEST_F(HostileManifest, TheOriginalOfTheseTestsIsRead) {
  sound_["note"] = "what a later program of this format might add";
  sound_.erase("manifest_sha256");
  sound_["manifest_sha256"] = sha256_of_text(sound_.dump());
  write_bytes(checkpoint_ / "manifest.json", sound_.dump(2));
  EXPECT_TRUE(is_example_state(load_checkpoint(checkpoint_), 20));
}

TEST_F(HostileManifest, NamesOutsideOfTheFolderAreRefused) {
  for (const std::string name : {"../model.safetensors", "/etc/passwd", "a/b", "..", ".", "", "line\nbreak/"}) {
    auto manifest = sound_;
    manifest["files"][name] = sound_["files"]["state.json"];
    EXPECT_TRUE(has(message_of(manifest), "malformed entry for '"));
  }
  auto manifest = sound_;
  manifest["files"][std::string("state.json\0x", 12)] = sound_["files"]["state.json"];
  EXPECT_TRUE(has(message_of(manifest), "malformed entry for 'state.json?x'"));
  manifest = sound_;
  manifest["files"][std::string(5000, 'a')] = sound_["files"]["state.json"];
  EXPECT_LT(message_of(manifest).size(), 500U);
}

TEST_F(HostileManifest, InvalidNumbersAreRefused) {
  for (const auto& number : std::vector<nlohmann::json>{-1, 1.5, "20", nullptr, 18446744073709551615U,
                                                        9223372036854775808U, nlohmann::json::array()}) {
    for (const std::string key : {"step", "format_version"}) {
      auto manifest = sound_;
      manifest[key] = number;
      EXPECT_TRUE(has(message_of(manifest), "lacks format_version, step or files")) << key << number;
    }
    auto manifest = sound_;
    manifest["files"]["state.json"]["size_bytes"] = number;
    EXPECT_TRUE(has(message_of(manifest), "malformed entry for 'state.json'")) << number;
  }
  sound_["format_version"] = 0;
  EXPECT_TRUE(has(message_of(sound_), "lacks format_version"));
}

TEST_F(HostileManifest, InvalidSha256AreRefused) {
  for (const auto& sha256 : std::vector<nlohmann::json>{"", "abc", std::string(64, 'A'), std::string(64, 'g'),
                                                        std::string(65, 'a'), 3, nullptr}) {
    auto manifest = sound_;
    manifest["files"]["model.safetensors"]["sha256"] = sha256;
    EXPECT_TRUE(has(message_of(manifest), "malformed entry for 'model.safetensors'"));
  }
}

TEST_F(HostileManifest, TextsThatWouldTakeMuchMemoryAreRefused) {
  EXPECT_TRUE(has(message_of_text("{\"files\":" + std::string(500'000, '[')), "nested too deep"));
  std::string list = "{\"files\":[0";
  for (int i = 0; i < 100'000; ++i) {
    list += ",0";
  }
  EXPECT_TRUE(has(message_of_text(list + "]}"), "a list of more than"));
  EXPECT_TRUE(has(message_of_text("{\"step\":1,\"step\":2}"), "names 'step' twice"));
  EXPECT_TRUE(has(message_of_text("[]"), "not JSON"));
  // A sparse file of a terabyte, which does not fit into memory.
  fs::resize_file(checkpoint_ / "manifest.json", std::uint64_t{1} << 40);
  EXPECT_TRUE(has(error_of([&] { load_checkpoint(checkpoint_); }), "more than any manifest"));
}

}  // namespace
}  // namespace maskedkd::testing
