// Weights and sets contain the names of their classes; wherever the two are used together, other classes are refused.
#include "app/small_run.hpp"
#include "maskedkd/codecs/image.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <sstream>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

constexpr const char* kClasses = "ant,great white shark,caf\xC3\xA9,dog";
constexpr const char* kDecomposed = "ant,great white shark,cafe\xCC\x81,dog";

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t number = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++number;
  }
  return number;
}

void expect_refusal(const ProcessResult& result, const std::vector<std::string>& parts) {
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_LT(result.seconds, 15.0);
  EXPECT_EQ(count(result.output, " error "), 1U) << result.output;
  for (const std::string& part : parts) {
    EXPECT_NE(result.output.find(part), std::string::npos) << "no '" << part << "' in: " << result.output;
  }
}

// The class names in a file, read by Python's safetensors.
nlohmann::json names_in(const fs::path& file) {
  const ProcessResult python =
      run_process({MASKEDKD_PYTHON, "-c",
                   "import safetensors, sys\n"
                   "with safetensors.safe_open(sys.argv[1], 'pt') as f: print(f.metadata().get('class_names', 'null'))",
                   file});
  return nlohmann::json::parse(python.output);
}

class Classes : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    place = new TemporaryDirectory;
    pack_images(path("data"), 64, 4, kClasses);
    pack_images(path("reversed"), 64, 4, "dog,caf\xC3\xA9,great white shark,ant");
    pack_images(path("decomposed"), 64, 4, kDecomposed);
    const ProcessResult trained = run_process(
        on_ranks(2, "maskedkd_train",
                 teacher_arguments(path("data"), path("run"),
                                   {"--eval-data-path", path("data"), "--model-ema-decay", "0.5", "--epochs", "2"})));
    ASSERT_EQ(trained.exit_code, 0) << trained.output;
    EXPECT_EQ(count(trained.output, "class names"), 0U) << trained.output;
    // The same weights without class names.
    fs::create_directories(path("nameless"));
    fs::copy(best() / "state.json", path("nameless"));
    const SafetensorsFile file = read_safetensors(best() / "model.safetensors");
    write_safetensors(path("nameless") / "model.safetensors", {file.tensors.begin(), file.tensors.end()});
  }
  static void TearDownTestSuite() { delete place; }

  static fs::path path(const std::string& name) { return place->path() / name; }
  static fs::path best() { return fs::canonical(path("run") / "checkpoints" / "best"); }
  static ProcessResult evaluate(const std::string& data, const fs::path& weights, const Arguments& more = {}) {
    Arguments arguments = {"--data-path", path(data),  "--weights", weights,     "--device",
                           "cpu",         "--threads", "1",         "--workers", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_process(on_ranks(2, "maskedkd_evaluate", arguments));
  }
  static ProcessResult train(const std::string& data, const std::string& output, Arguments more) {
    more.insert(more.end(), {"--stop-after-steps", "1"});
    return run_process(on_ranks(2, "maskedkd_train", teacher_arguments(path(data), path(output), more)));
  }
  static ProcessResult distill(const std::string& data, const std::string& output, const fs::path& teacher,
                               Arguments more = {}) {
    more.insert(more.end(), {"--stop-after-steps", "1"});
    return run_process(on_ranks(2, "maskedkd_train", student_arguments(path(data), teacher, path(output), more)));
  }
  static ProcessResult weights(Arguments arguments) {
    arguments.insert(arguments.begin(), std::string(MASKEDKD_BIN_DIR) + "/maskedkd_weights");
    return run_process(arguments);
  }

  inline static TemporaryDirectory* place = nullptr;
};

TEST_F(Classes, CheckpointsContainTheNamesForAnyReader) {
  const nlohmann::json names = {"ant", "great white shark", "caf\xC3\xA9", "dog"};
  EXPECT_EQ(names_in(best() / "model.safetensors"), names);
  EXPECT_EQ(names_in(best() / "ema.safetensors"), names);
  EXPECT_EQ(names_in(best() / "optimizer.safetensors"), nullptr);
}

TEST_F(Classes, EvaluationOfAnotherOrderIsRefused) {
  const ProcessResult same = evaluate("data", path("run"));
  EXPECT_EQ(same.exit_code, 0) << same.output;
  EXPECT_EQ(count(same.output, "warning"), 0U) << same.output;
  for (const Arguments& more : {Arguments{}, Arguments{"--ema"}}) {
    expect_refusal(evaluate("reversed", path("run"), more),
                   {"reversed has other classes than", "the same names in another order", "4 of 4 labels",
                    "label 0: 'dog' instead of 'ant'", "maskedkd_weights show --classes"});
  }
  const ProcessResult refused = evaluate("reversed", path("run"));
  EXPECT_EQ(count(refused.output, "--ignore-class-names"), 0U) << "the classes differ: " << refused.output;
  const ProcessResult ignored = evaluate("reversed", path("run"), {"--ignore-class-names"});
  EXPECT_EQ(ignored.exit_code, 0) << ignored.output;
  EXPECT_EQ(count(ignored.output, "reversed has other classes than"), 1U) << ignored.output;
}

TEST_F(Classes, AnotherUnicodeNormalisationIsShown) {
  const std::vector<std::string> parts = {"the same text in another Unicode normalisation",
                                          "(U+0065 U+0301 instead of U+00E9)", "--ignore-class-names"};
  expect_refusal(evaluate("decomposed", path("run")), parts);
  expect_refusal(train("data", "other-val", {"--eval-data-path", path("decomposed")}), parts);
  const ProcessResult ignored =
      train("data", "ignored-val", {"--eval-data-path", path("decomposed"), "--ignore-class-names"});
  EXPECT_EQ(ignored.exit_code, 85) << ignored.output;
  EXPECT_EQ(count(ignored.output, "normalisation"), 1U) << ignored.output;
}

TEST_F(Classes, ASetMayLackTheLastClassesButHaveNoOthers) {
  pack_images(path("three"), 48, 3, "ant,great white shark,caf\xC3\xA9");
  const ProcessResult fewer = evaluate("three", path("run"));
  EXPECT_EQ(fewer.exit_code, 0) << fewer.output;
  EXPECT_EQ(train("data", "three-val", {"--eval-data-path", path("three")}).exit_code, 85);
  expect_refusal(train("three", "three-train", {"--eval-data-path", path("data")}),
                 {"data has 4 classes", "three only the first 3 of them"});
  const ProcessResult unnamed = evaluate("three", path("nameless"));
  EXPECT_EQ(unnamed.exit_code, 0) << unnamed.output;
  EXPECT_EQ(count(unnamed.output, "has no class names"), 1U) << unnamed.output;
}

TEST_F(Classes, ATeacherOfAnotherOrderIsRefused) {
  EXPECT_EQ(distill("data", "same-teacher", path("run")).exit_code, 85);
  for (const fs::path& teacher : {path("run"), best(), best() / "model.safetensors"}) {
    expect_refusal(distill("reversed", "other-teacher", teacher),
                   {"reversed has other classes than", "in another order", "'dog' instead of 'ant'"});
  }
  EXPECT_FALSE(fs::exists(path("other-teacher") / "checkpoints"));
}

TEST_F(Classes, WeightsToStartFromKeepTheirClassesOrGetANewHead) {
  expect_refusal(train("reversed", "tuned", {"--finetune", path("run")}),
                 {"in another order", "--reinit-head", "'dog' instead of 'ant'"});
  const ProcessResult anew = train("reversed", "anew", {"--finetune", path("run"), "--reinit-head"});
  EXPECT_EQ(anew.exit_code, 85) << anew.output;
  EXPECT_EQ(count(anew.output, "other classes"), 0U) << anew.output;
  EXPECT_EQ(train("data", "tuned", {"--finetune", path("run")}).exit_code, 85);
  EXPECT_EQ(names_in(path("anew") / "checkpoints" / "step-000000001" / "model.safetensors")[0], "dog");
}

TEST_F(Classes, ARunIsResumedOnlyWithItsClasses) {
  ASSERT_EQ(train("data", "resumed", {}).exit_code, 85);
  expect_refusal(train("reversed", "resumed", {}), {"reversed has other classes than the run was started with",
                                                    "in another order", "another --output-dir"});
  expect_refusal(train("decomposed", "resumed", {"--ignore-class-names"}), {"Unicode normalisation"});
  EXPECT_EQ(train("data", "resumed", {}).exit_code, 0);  // the second of its two steps
}

TEST_F(Classes, WeightsWithoutNamesGetTheOrderOfTheSetWithOneMessage) {
  const ProcessResult evaluated = evaluate("reversed", path("nameless"));
  EXPECT_EQ(evaluated.exit_code, 0) << evaluated.output;
  EXPECT_EQ(count(evaluated.output, "has no class names"), 1U) << evaluated.output;
  EXPECT_NE(evaluated.output.find("those of " + path("reversed").string() + " in that order, from 'dog' to 'ant'"),
            std::string::npos)
      << evaluated.output;
  const ProcessResult taught = distill("reversed", "nameless-teacher", path("nameless"));
  EXPECT_EQ(taught.exit_code, 85) << taught.output;
  EXPECT_EQ(count(taught.output, "has no class names"), 1U) << taught.output;
  const ProcessResult tuned = train("reversed", "nameless-start", {"--finetune", path("nameless")});
  EXPECT_EQ(tuned.exit_code, 85) << tuned.output;
  EXPECT_EQ(count(tuned.output, "has no class names"), 1U) << tuned.output;
}

TEST_F(Classes, ExportedWeightsContainTheNames) {
  const fs::path exported = path("exported") / "model.safetensors";
  fs::create_directories(exported.parent_path());
  fs::copy(best() / "state.json", exported.parent_path());  // it describes the model
  for (const char* style : {"timm", "meta"}) {
    const ProcessResult converted = weights({"convert", path("run"), exported, "--to", style, "--overwrite"});
    ASSERT_EQ(converted.exit_code, 0) << converted.output;
    EXPECT_EQ(names_in(exported), names_in(best() / "model.safetensors"));
    expect_refusal(evaluate("reversed", exported), {"in another order", "'dog' instead of 'ant'"});
    expect_refusal(distill("reversed", "exported-teacher", exported), {"in another order"});
  }
  ASSERT_EQ(weights({"convert", path("nameless"), exported, "--to", "timm", "--overwrite"}).exit_code, 0);
  EXPECT_EQ(names_in(exported), nullptr);
}

TEST_F(Classes, ShowPrintsTheNamesAndWritesAClassMap) {
  const ProcessResult shown = weights({"show", path("run")});
  EXPECT_NE(shown.output.find("classes: 4, named 'ant', 'great white shark', 'caf\xC3\xA9', 'dog'\n"),
            std::string::npos)
      << shown.output;
  EXPECT_NE(weights({"show", path("nameless")}).output.find("classes: their names are not in the file\n"),
            std::string::npos);
  EXPECT_EQ(weights({"show", path("nameless"), "--classes"}).exit_code, 2);

  // The names of the folders sort in another order than the run's classes; the packer gets the map that show prints.
  const ProcessResult map = weights({"show", path("run"), "--classes"});
  ASSERT_EQ(map.exit_code, 0) << map.output;
  std::ofstream(path("map.txt")) << map.output;
  const Image image{16, 16, std::vector<std::uint8_t>(16 * 16 * 3, 90)};
  for (const char* name : {"ant", "great white shark", "caf\xC3\xA9", "dog"}) {
    fs::create_directories(path("folders") / name);
    write_png(path("folders") / name / "1.png", image);
  }
  for (const Arguments& more : {Arguments{}, Arguments{"--class-map", path("map.txt")}}) {
    const std::string set = more.empty() ? "sorted" : "mapped";
    Arguments arguments = {std::string(MASKEDKD_BIN_DIR) + "/maskedkd_pack", "--data-path", path("folders"),
                           "--output-dir", path(set)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult packed = run_process(arguments);
    ASSERT_EQ(packed.exit_code, 0) << packed.output;
  }
  expect_refusal(evaluate("sorted", path("run")), {"in another order", "label 1: 'caf\xC3\xA9' instead of"});
  const ProcessResult mapped = evaluate("mapped", path("run"));
  EXPECT_EQ(mapped.exit_code, 0) << mapped.output;
}

}  // namespace
}  // namespace maskedkd::testing
