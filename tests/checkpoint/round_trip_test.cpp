// A saved checkpoint is loaded bit for bit, with the file names of the format, which other programs can read.
#include "example.hpp"
#include "support/process.hpp"
#include "support/temporary_directory.hpp"

#include <nlohmann/json.hpp>

namespace maskedkd::testing {
namespace {

TEST(Checkpoint, EveryBitIsRestored) {
  const RunFolder root;
  for (const std::int64_t step : {0, 1, 41, 1251, 375300}) {
    const fs::path path = save_checkpoint(root.lease(), root.path(), example_state(step));
    EXPECT_EQ(path, checkpoint_path(root.path(), step));
    const LoadedCheckpoint loaded = load_checkpoint(path);
    EXPECT_TRUE(is_example_state(loaded, step)) << step;
    EXPECT_EQ(fs::canonical(loaded.path), fs::canonical(path));
    EXPECT_FALSE(is_example_state(loaded, step + 1));
  }
  EXPECT_EQ(names_in(root.path()), (std::set<std::string>{"step-000000000", "step-000000001", "step-000000041",
                                                          "step-000001251", "step-000375300"}));
  const auto newest = find_newest_checkpoint(root.path(), nothing_is_damaged);
  ASSERT_TRUE(newest);
  EXPECT_TRUE(is_example_state(*newest, 375300));
}

// Metadata of a group is restored also if several writers saved it in several files.
TEST(Checkpoint, MetadataOfGroupsIsRestored) {
  const RunFolder root;
  CheckpointContent content = example_state(3);
  content.metadata["model"] = {{"class_names", "[\"ant\",\"gr\u00f6\u00dfer\"]"}};
  content.metadata["ema"] = {{"of", "the average"}};
  NamedTensors average = std::move(content.groups.at("ema"));
  content.groups.erase("ema");
  content.groups["ema-00001-of-00002"] = {average.begin(), average.begin() + 1};
  content.elsewhere = {"ema-00002-of-00002"};
  CheckpointContent other = content;
  other.elsewhere.clear();
  other.groups = {{"ema-00002-of-00002", {average.begin() + 1, average.end()}}};
  save_checkpoint_part(root.lease().staging_folder(), other);
  const fs::path path = save_checkpoint(root.lease(), root.path(), content);
  const LoadedCheckpoint loaded = load_checkpoint(path);
  EXPECT_TRUE(is_example_state(loaded, 3));
  EXPECT_EQ(loaded.metadata.at("model").at("class_names"), content.metadata["model"]["class_names"]);
  EXPECT_EQ(loaded.metadata.at("optimizer"), (SafetensorsMetadata{{"format", "pt"}}));
  for (const char* file : {"ema-00001-of-00002.safetensors", "ema-00002-of-00002.safetensors"}) {
    EXPECT_EQ(read_safetensors_header(path / file).metadata,
              (SafetensorsMetadata{{"format", "pt"}, {"of", "the average"}}));
  }
}

// Starting from the beginning would lose the run.
TEST(Checkpoint, AnUnreadableFolderIsNotAnEmptyOne) {
  const RunFolder root;
  EXPECT_TRUE(list_checkpoints(root.path() / "none").empty());
  write_bytes(root.path() / "a file", "x");
  EXPECT_TRUE(list_checkpoints(root.path() / "a file").empty());
  const fs::path trouble = root.path() / std::string(300, 'x');  // gives ENAMETOOLONG; stands for EIO
  for (const std::function<void()>& look : std::vector<std::function<void()>>{
           [&] { list_checkpoints(trouble); },
           [&] { find_newest_checkpoint(trouble, nothing_is_damaged); },
           [&] { load_checkpoint(trouble); },
       }) {
    try {
      look();
      ADD_FAILURE() << "nothing thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::requeue) << error.what();
    }
  }
}

// Steps of more than nine digits are ordered by number, not by name.
TEST(Checkpoint, TheNewestHasTheLargestNumber) {
  const RunFolder root;
  for (const std::int64_t step : {999999999, 1000000000, 5}) {
    save_checkpoint(root.lease(), root.path(), example_state(step));
  }
  fs::create_directory(root.path() / "step-x");
  fs::create_directory(root.path() / "step-");
  fs::create_directory(root.path() / "step--5");
  fs::create_directory(root.path() / "step-99999999999999999999999");
  write_bytes(root.path() / "step-000000777", "a file");
  const auto listed = list_checkpoints(root.path());
  ASSERT_EQ(listed.size(), 3u);
  EXPECT_EQ(listed[0].filename(), "step-000000005");
  EXPECT_EQ(listed[2].filename(), "step-1000000000");
  const auto newest = find_newest_checkpoint(root.path(), nothing_is_damaged);
  EXPECT_TRUE(newest && is_example_state(*newest, 1000000000));
}

TEST(Checkpoint, AnEmptyFolderIsNoError) {
  const RunFolder root;
  EXPECT_FALSE(find_newest_checkpoint(root.path(), nothing_is_damaged));
  EXPECT_FALSE(find_newest_checkpoint(root.path() / "none", nothing_is_damaged));
  EXPECT_TRUE(list_checkpoints(root.path() / "none").empty());
  EXPECT_NE(error_of([&] { load_checkpoint(root.path() / "none"); }).find("no such folder"), std::string::npos);
}

TEST(Checkpoint, TheManifestAgreesWithOtherTools) {
  const RunFolder root;
  const fs::path path = save_checkpoint(root.lease(), root.path(), example_state(7));
  EXPECT_EQ(names_in(path), (std::set<std::string>{"ema.safetensors", "manifest.json", "model.safetensors",
                                                   "optimizer.safetensors", "state.json"}));
  const auto manifest = nlohmann::json::parse(read_bytes(path / "manifest.json"));
  EXPECT_EQ(manifest["format_version"], 1);
  EXPECT_EQ(manifest["step"], 7);
  EXPECT_EQ(manifest["files"].size(), 4u);
  for (const auto& [name, file] : manifest["files"].items()) {
    EXPECT_EQ(file["size_bytes"], fs::file_size(path / name));
    EXPECT_EQ(file["sha256"], run_process({"sha256sum", (path / name).string()}).output.substr(0, 64));
  }
}

TEST(Checkpoint, TheSameStateGivesTheSameBytes) {
  const RunFolder one, other;
  const fs::path a = save_checkpoint(one.lease(), one.path(), example_state(7)),
                 b = save_checkpoint(other.lease(), other.path(), example_state(7));
  for (const std::string& name : names_in(a)) {
    EXPECT_TRUE(read_bytes(a / name) == read_bytes(b / name)) << name;
  }
}

TEST(Checkpoint, AStepThatIsSavedTwiceIsWrittenOnce) {
  const RunFolder root;
  const fs::path path = save_checkpoint(root.lease(), root.path(), example_state(7));
  const auto written = fs::last_write_time(path / "manifest.json");
  EXPECT_EQ(save_checkpoint(root.lease(), root.path(), example_state(7)), path);
  EXPECT_EQ(fs::last_write_time(path / "manifest.json"), written);  // not written again
  EXPECT_EQ(names_in(root.path()), std::set<std::string>{"step-000000007"});
  fs::resize_file(path / "model.safetensors", 10);
  EXPECT_EQ(save_checkpoint(root.lease(), root.path(), example_state(7)), path);
  EXPECT_TRUE(is_example_state(load_checkpoint(path), 7));
  EXPECT_EQ(names_in(root.path()), std::set<std::string>{"step-000000007"});
}

TEST(Checkpoint, RelativeRootsWork) {
  const RunFolder root;
  const fs::path before = fs::current_path();
  fs::current_path(root.path());
  for (const char* given : {"run", "./run", "run/"}) {
    const Lease lease(given, this_process("a test"));
    save_checkpoint(lease, given, example_state(3));
    const fs::path path = save_checkpoint(lease, given, example_state(4));
    mark_best(lease, given, path);
    EXPECT_TRUE(is_example_state(load_checkpoint(fs::path(given) / "best"), 4)) << given;
    retain_checkpoints(lease, given, {1});
    EXPECT_EQ(names_in("run"), (std::set<std::string>{"best", "step-000000004"})) << given;
    fs::remove_all("run");
  }
  fs::current_path(before);
}

TEST(Checkpoint, UnwritablePlacesAreErrors) {
  const RunFolder root;
  write_bytes(root.path() / "file", "x");
  for (const fs::path& place : {root.path() / "file", root.path() / "file" / "run", fs::path("/proc/self")}) {
    EXPECT_NE(error_of([&] { save_checkpoint(root.lease(), place, example_state(1)); }).find("can't save"),
              std::string::npos);
  }
  EXPECT_FALSE(has_leftovers(root.path()));
}

}  // namespace
}  // namespace maskedkd::testing
