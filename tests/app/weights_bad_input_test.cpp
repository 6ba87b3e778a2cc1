// Mistakes of users of maskedkd_weights give one line on standard error and exit code 2, and no file is written.
#include "app/small_run.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/model/vit.hpp"
#include "support/contains.hpp"
#include "support/initialised_vit.hpp"
#include "support/temporary_directory.hpp"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <set>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

class WeightsBadInput : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    place = new TemporaryDirectory;
    whole = initialised_vit(find_model("deit_tiny_patch16_224"), /*seed=*/1).parameters();
    write_safetensors(path("whole"), whole);
  }
  static void TearDownTestSuite() {
    delete place;
    whole.clear();
  }

  static fs::path path(const std::string& name) { return place->path() / name; }
  static fs::path file(const std::string& name, const std::string& bytes) {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }
  static ProcessResult run(Arguments arguments) {
    arguments.insert(arguments.begin(), std::string(MASKEDKD_BIN_DIR) + "/maskedkd_weights");
    return run_process(arguments);
  }
  static std::set<std::string> listing() {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(place->path())) {
      names.insert(entry.path().string());
    }
    return names;
  }
  static void expect_refused(const ProcessResult& result, const std::vector<std::string>& parts) {
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << result.output;
    EXPECT_NE(result.output.find(" error "), std::string::npos) << result.output;
    for (const std::string& part : parts) {
      EXPECT_NE(result.output.find(part), std::string::npos) << "no '" << part << "' in: " << result.output;
    }
  }
  static void expect_refused(const Arguments& arguments, const std::vector<std::string>& parts) {
    const std::set<std::string> before = listing();
    expect_refused(run(arguments), parts);
    EXPECT_EQ(listing(), before);
  }
  // The output of `check` for `tensors`; expects its exit code.
  static std::string check(const NamedTensors& tensors, int exit_code, Arguments more = {}) {
    write_safetensors(path("checked"), tensors);
    more.insert(more.begin(), {"check", path("checked"), "--model", "deit_tiny_patch16_224"});
    const ProcessResult result = run(more);
    EXPECT_EQ(result.exit_code, exit_code) << result.output;
    return result.output;
  }

  static TemporaryDirectory* place;
  static NamedTensors whole;
};
TemporaryDirectory* WeightsBadInput::place = nullptr;
NamedTensors WeightsBadInput::whole;

TEST_F(WeightsBadInput, WrongCommandsAndMissingArgumentsAreRefused) {
  expect_refused(Arguments{}, {"a command is missing; choose from list, show, convert, check"});
  expect_refused({"chek", path("whole")}, {"unknown command 'chek'; did you mean check?"});
  expect_refused({"train"}, {"unknown command 'train'; choose from list, show, convert, check"});
  expect_refused({"show"}, {"FILE is missing"});
  expect_refused({"list", "all"}, {"unexpected argument 'all'"});
  expect_refused({"convert", path("whole"), path("out")}, {"--to is missing"});
  expect_refused({"convert", path("whole"), "--to", "timm"}, {"OUT is missing"});
  expect_refused({"convert", path("whole"), path("out"), "--to", "google"}, {"google", "timm, meta"});
  expect_refused({"check", path("whole")}, {"--model is missing"});
  expect_refused({"check", path("whole"), "--model", "deit_tony"}, {"deit_tony", "deit_tiny_patch16_224", "cait_s24"});
  expect_refused({"check", path("whole"), "--model", "deit_tiny_patch16_224", "--num-classes", "-1"},
                 {"--num-classes -1"});
}

TEST_F(WeightsBadInput, HelpIsPrintedForTheProgramAndEachCommand) {
  const ProcessResult all = run({"--help"});
  EXPECT_EQ(all.exit_code, 0);
  for (const char* command : {"list", "show", "convert", "check"}) {
    EXPECT_CONTAINS(all.output, std::string("\n  ") + command + " ");
    const ProcessResult one = run({command, "--help"});
    EXPECT_EQ(one.exit_code, 0);
    EXPECT_CONTAINS(one.output, std::string("maskedkd_weights ") + command);
  }
}

TEST_F(WeightsBadInput, OtherFilesAreRefused) {
  fs::create_directory(path("empty"));
  const std::string whole_bytes = file_bytes(path("whole"));
  const std::vector<std::pair<fs::path, std::vector<std::string>>> files = {
      {path("nothing"), {"nothing does not exist"}},
      {path("empty"), {"error ", "/empty is neither a safetensors file, nor a checkpoint, nor a run"}},
      {file("weights.pth", "PK\003\004 and so on"), {"weights.pth", "pickle", "preprocess/pth_to_safetensors.py"}},
      {file("page", "<!DOCTYPE html><html></html>"), {"page", "HTML"}},
      {file("cut", whole_bytes.substr(0, whole_bytes.size() - 1)), {"cut"}},
      {file("none", ""), {"none"}},
  };
  for (const auto& [given, parts] : files) {
    expect_refused({"show", given}, parts);
    expect_refused({"check", given, "--model", "deit3_small"}, parts);
    expect_refused({"convert", given, path("out"), "--to", "timm"}, parts);
  }
  expect_refused({"convert", path("whole"), path("out"), "--to", "timm", "--ema"}, {"--ema", "ema.safetensors"});
}

TEST_F(WeightsBadInput, InvalidOutputPathsAreRefused) {
  const auto convert = [](const fs::path& out) { return Arguments{"convert", path("whole"), out, "--to", "meta"}; };
  const std::string before = file_bytes(path("whole"));
  const fs::path old = file("old", "old");
  fs::create_symlink(path("whole"), path("link"));
  expect_refused(convert(path("whole")), {"OUT is IN"});
  expect_refused(convert(path("link")), {"OUT is IN"});
  expect_refused(convert(old), {"old exists already; --overwrite replaces it"});
  expect_refused(convert(place->path()), {"is not a file"});
  expect_refused(convert(path("nowhere") / "out"), {"the folder", "nowhere does not exist"});
  expect_refused(convert("/proc/maskedkd-out"), {"/proc/maskedkd-out"});  // not even root may write there
  EXPECT_EQ(file_bytes(old), "old");
  EXPECT_EQ(file_bytes(path("whole")), before);
}

TEST_F(WeightsBadInput, AFullDiskIsAnErrorAndLeavesNoFile) {
  const fs::path old = file("kept", "kept");
  const std::set<std::string> before = listing();
  const std::string program = std::string(MASKEDKD_BIN_DIR) + "/maskedkd_weights";
  expect_refused(run_process({"bash", "-c", "ulimit -f 5000; exec \"$@\"", "limited", program, "convert", path("whole"),
                              old, "--to", "timm", "--overwrite"}),
                 {"can't write"});
  EXPECT_EQ(listing(), before);
  EXPECT_EQ(file_bytes(old), "kept");
}

TEST_F(WeightsBadInput, UnknownModelsAreNotConverted) {
  NamedTensors odd = whole;
  odd.pop_back();
  odd.emplace_back("head.bais", at::zeros({1000}));
  write_safetensors(path("odd"), odd);
  for (const Arguments& more : {Arguments{}, Arguments{"--model", "deit_tiny_patch16_224"}}) {
    Arguments arguments = {"convert", path("odd"), path("out"), "--to", "timm"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_refused(arguments, {"deit_tiny_patch16_224: missing head.bias; unexpected head.bais"});
  }
  // A model of another grid would fit, but with other values.
  expect_refused({"convert", path("whole"), path("out"), "--to", "timm", "--model", "deit_base_patch16_224"},
                 {"is not deit_base_patch16_224"});
  const ProcessResult shown = run({"show", path("odd")});
  EXPECT_EQ(shown.exit_code, 0);
  EXPECT_CONTAINS(shown.output, "model: not a published one\n");
}

TEST_F(WeightsBadInput, CheckNamesEveryTensor) {
  EXPECT_CONTAINS(check(whole, 0), "fits deit_tiny_patch16_224 with 1000 classes\n");

  NamedTensors odd;
  for (const auto& [name, tensor] : whole) {
    if (name == "blocks.3.norm1.weight" || name == "cls_token") {
      continue;
    }
    odd.emplace_back(name, name == "norm.weight" ? at::zeros({9}) : tensor);
  }
  odd.emplace_back("stray", at::zeros({2, 3}));
  const std::string printed = check(odd, 2);
  for (const char* line :
       {"missing: cls_token [1, 1, 192]\n", "missing: blocks.3.norm1.weight [192]\n", "unexpected: stray [2, 3]\n",
        "wrong: norm.weight is [9] instead of [192]\n",
        "does not fit deit_tiny_patch16_224 with 1000 classes: 2 tensors missing, 1 unexpected, 1 wrong"}) {
    EXPECT_CONTAINS(printed, line);
  }
}

TEST_F(WeightsBadInput, CheckOfAnUnrelatedFileGivesOneLine) {
  NamedTensors other;
  for (const auto& [name, tensor] : whole) {
    other.emplace_back("vit.patch_embeddings.projection." + name + ".of_another", tensor);
  }
  write_safetensors(path("other"), other);
  expect_refused({"check", path("other"), "--model", "deit_tiny_patch16_224"},
                 {"the model has 152 tensors; 152 missing, e.g. cls_token, pos_embed; 152 unknown, e.g. vit.",
                  "these are transformers' names"});
}

TEST_F(WeightsBadInput, AMissingPrefixIsRefused) {
  NamedTensors two;
  for (const auto& [name, tensor] : whole) {
    two.emplace_back("student." + name, tensor);
    two.emplace_back("teacher." + name, tensor);
  }
  write_safetensors(path("two"), two);
  expect_refused({"show", path("two"), "--prefix", "ema"}, {"--prefix ema", "student., teacher."});
  const ProcessResult shown = run({"show", path("two"), "--prefix", "teacher"});
  EXPECT_EQ(shown.exit_code, 0);
  EXPECT_CONTAINS(shown.output, "note: its names are taken without 'teacher.'");
}

TEST_F(WeightsBadInput, CheckReportsAHeadOfOtherClasses) {
  EXPECT_CONTAINS(check(whole, 2, {"--num-classes", "10"}), "1000 classes");
  EXPECT_CONTAINS(check(whole, 0, {"--num-classes", "10", "--reinit-head"}),
                  "fits deit_tiny_patch16_224 with 10 classes\n");
  NamedTensors headless;
  std::copy_if(whole.begin(), whole.end(), std::back_inserter(headless),
               [](const auto& it) { return it.first.rfind("head.", 0) != 0; });
  EXPECT_CONTAINS(check(headless, 2), "missing: head.weight [1000, 192]\n");
  EXPECT_CONTAINS(check(headless, 0, {"--reinit-head"}), "fits deit_tiny");
}

TEST_F(WeightsBadInput, CheckWarnsOfValuesThatAreNotFinite) {
  NamedTensors odd;
  for (const auto& [name, tensor] : whole) {
    odd.emplace_back(name, tensor.clone());
    if (name == "norm.bias") {
      odd.back().second.narrow(0, 3, 2).fill_(std::numeric_limits<float>::quiet_NaN());
    } else if (name == "blocks.7.mlp.fc1.bias") {
      odd.back().second = odd.back().second.to(at::kBFloat16);
      odd.back().second.narrow(0, 5, 1).fill_(-std::numeric_limits<float>::infinity());
    }
  }
  const std::string printed = check(odd, 0);
  EXPECT_CONTAINS(printed, "warning norm.bias: 2 of 192 values are NaN or infinite\n");
  EXPECT_CONTAINS(printed, "warning blocks.7.mlp.fc1.bias: 1 of 768 values are NaN or infinite\n");
  EXPECT_CONTAINS(printed, "fits deit_tiny_patch16_224");
  EXPECT_EQ(check(whole, 0).find("warning"), std::string::npos);
}

}  // namespace
}  // namespace maskedkd::testing
