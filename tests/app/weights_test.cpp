// Weights with names of other programs are converted to timm's names with the same logits and the same bits.
#include "app/small_run.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/model/vit.hpp"
#include "support/initialised_vit.hpp"
#include "support/temporary_directory.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstring>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

ProcessResult run_weights(Arguments arguments) {
  arguments.insert(arguments.begin(), std::string(MASKEDKD_BIN_DIR) + "/maskedkd_weights");
  return run_process(arguments);
}

void run_python(const std::string& script, Arguments arguments) {
  arguments.insert(arguments.begin(), {MASKEDKD_PYTHON, std::string(MASKEDKD_SOURCE_DIR) + "/" + script});
  const ProcessResult result = run_process(arguments, 300);
  ASSERT_EQ(result.exit_code, 0) << result.output;
}

void expect_converts(const fs::path& in, const fs::path& out, const std::string& style) {
  const ProcessResult result = run_weights({"convert", in, out, "--to", style, "--overwrite"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("tensors of"), std::string::npos) << result.output;
}

void expect_same_tensors(const fs::path& a, const fs::path& b) {
  const auto expected = read_safetensors(a).tensors, found = read_safetensors(b).tensors;
  ASSERT_EQ(expected.size(), found.size()) << a << ' ' << b;
  for (const auto& [name, tensor] : expected) {
    ASSERT_EQ(found.count(name), 1U) << name << " of " << a << " is not in " << b;
    const at::Tensor& other = found.at(name);
    EXPECT_EQ(tensor.scalar_type(), other.scalar_type()) << name;
    EXPECT_EQ(tensor.sizes(), other.sizes()) << name;
    ASSERT_EQ(tensor.nbytes(), other.nbytes()) << name;
    EXPECT_EQ(std::memcmp(tensor.const_data_ptr(), other.const_data_ptr(), tensor.nbytes()), 0) << name;
  }
}

VitOptions options_of(const std::string& name, int num_classes) {
  VitOptions options = find_model(name);
  options.num_classes = num_classes;
  return options;
}

at::Tensor logits_of(const Vit& model, const at::Tensor& images) {
  const at::NoGradGuard no_gradients;
  return model.forward(images, {}).combined_logits();
}

at::Tensor logits_of(const std::string& name, int num_classes, const fs::path& file, const at::Tensor& images) {
  Vit model(options_of(name, num_classes));
  model.load(read_safetensors(file).tensors, file);
  return logits_of(model, images);
}

struct WeightsCase {
  std::string name;
  int num_classes = 0;

  std::string folder() const { return fmt::format("{}/{}", name, num_classes); }
};

// One of the large model, whose files are 350 MB each.
const std::vector<WeightsCase> kCases = {{"deit_tiny_patch16_224", 1000},
                                         {"deit_tiny_patch16_224", 7},
                                         {"deit_tiny_distilled_patch16_224", 1000},
                                         {"deit_tiny_distilled_patch16_224", 7},
                                         {"deit3_small_patch16_224", 1000},
                                         {"deit3_small_patch16_224", 7},
                                         {"cait_xxs24_224", 1000},
                                         {"cait_xxs24_224", 7},
                                         {"mae_vit_base_patch16", 7},
                                         {"vit_tiny_patch16_224", 1000},
                                         {"vit_tiny_patch16_224", 7}};

// tests/app/weights.py, on all cases in one process, as Python needs seconds to import timm.
void make_or_open(const std::string& what, const fs::path& place) {
  Arguments arguments = {what, place};
  for (const WeightsCase& weights : kCases) {
    arguments.push_back(weights.folder());
  }
  run_python("tests/app/weights.py", arguments);
}

TEST(Weights, NamesOfEveryStyleGiveTheSameLogitsAndTimmsFileBitForBit) {
  const TemporaryDirectory place;
  ASSERT_NO_FATAL_FAILURE(make_or_open("make", place.path()));
  for (const WeightsCase& weights : kCases) {
    SCOPED_TRACE(weights.folder());
    const fs::path folder = place.path() / weights.folder();
    const fs::path timm = folder / "timm.safetensors", meta = folder / "meta.safetensors";
    const auto answers = read_safetensors(folder / "answers.safetensors").tensors;
    const at::Tensor expected = logits_of(weights.name, weights.num_classes, timm, answers.at("images"));
    EXPECT_TRUE(at::allclose(expected, answers.at("logits"), 1e-4, 1e-4));
    EXPECT_TRUE(at::equal(expected, logits_of(weights.name, weights.num_classes, meta, answers.at("images"))));

    const fs::path converted = folder / "converted.safetensors", other = folder / "other.safetensors";
    expect_converts(timm, other, "meta");
    expect_same_tensors(meta, other);
    expect_converts(other, converted, "timm");
    expect_same_tensors(timm, converted);
  }
  ASSERT_NO_FATAL_FAILURE(make_or_open("open", place.path()));
  for (const WeightsCase& weights : kCases) {
    SCOPED_TRACE(weights.folder());
    const fs::path folder = place.path() / weights.folder(), again = folder / "again.safetensors";
    expect_converts(folder / "saved.safetensors", again, "timm");
    expect_same_tensors(folder / "timm.safetensors", again);
    // The order is timm's, so that timm's file and ours are equal from the first tensor on.
    EXPECT_EQ(file_bytes(again), file_bytes(folder / "converted.safetensors"));
  }
}

// The way of a user with a .pth: a training checkpoint with its arguments, as DeiT's code writes it.
TEST(Weights, APthIsConvertedToTimmsFile) {
  const TemporaryDirectory place;
  const std::string name = "deit3_small_patch16_224";
  run_python("tests/app/weights.py", {"make", place.path(), name + "/7"});
  const fs::path folder = place.path() / name / "7", file = folder / "taken.safetensors";
  run_python("preprocess/pth_to_safetensors.py", {folder / "training.pth", file});
  expect_same_tensors(folder / "meta.safetensors", file);

  const ProcessResult pickle = run_weights({"check", folder / "training.pth", "--model", name});
  EXPECT_EQ(pickle.exit_code, 2);
  EXPECT_NE(pickle.output.find("pth_to_safetensors.py " + (folder / "training.pth").string()), std::string::npos)
      << pickle.output;
  const ProcessResult fits = run_weights({"check", file, "--model", "deit3_small"});
  EXPECT_EQ(fits.exit_code, 0) << fits.output;
  EXPECT_NE(fits.output.find("fits deit3_small with 7 classes"), std::string::npos) << fits.output;
  expect_converts(file, folder / "converted.safetensors", "timm");
  expect_same_tensors(folder / "timm.safetensors", folder / "converted.safetensors");
  run_python("tests/app/weights.py", {"open", place.path(), name + "/7"});
}

// MAE's pretraining has an encoder and a decoder, norm instead of fc_norm, and no head.
TEST(Weights, PretrainingOfMaeFitsAStudentWhoseHeadIsNew) {
  const TemporaryDirectory place;
  const std::string name = "mae_vit_base_patch16";
  run_python("tests/app/weights.py", {"make", place.path(), name + "/7"});
  const fs::path folder = place.path() / name / "7", file = folder / "pretraining.safetensors";

  const ProcessResult fits = run_weights({"check", file, "--model", name, "--reinit-head"});
  EXPECT_EQ(fits.exit_code, 0) << fits.output;
  EXPECT_NE(fits.output.find("fits " + name), std::string::npos) << fits.output;
  const ProcessResult bare = run_weights({"check", file, "--model", name});
  EXPECT_EQ(bare.exit_code, 2) << bare.output;
  for (const char* line :
       {"missing: fc_norm.weight [768]\n", "missing: fc_norm.bias [768]\n", "missing: head.weight [1000, 768]\n",
        "missing: head.bias [1000]\n", "unexpected: mask_token [1, 1, 512]\n", "unexpected: norm.weight [768]\n",
        "unexpected: decoder_pred.weight [768, 512]\n", "4 tensors missing, 9 unexpected, 0 wrong"}) {
    EXPECT_NE(bare.output.find(line), std::string::npos) << line << " in\n" << bare.output;
  }
  const ProcessResult shown = run_weights({"show", file});
  EXPECT_NE(shown.output.find("the encoder of mae_vit_base_patch16, without a head"), std::string::npos)
      << shown.output;

  // The encoder is the model's: with its head and fc_norm, the logits are those of the model.
  const at::Tensor images = read_safetensors(folder / "answers.safetensors").tensors.at("images");
  Vit model(options_of(name, 7));
  model.load(read_safetensors(folder / "timm.safetensors").tensors, "timm");
  const at::Tensor expected = logits_of(model, images);
  LoadOptions how;
  how.reinit_head = true;
  model.load(read_safetensors(file).tensors, "pretraining", how);
  EXPECT_TRUE(at::equal(expected, logits_of(model, images)));
}

TEST(Weights, HalfPrecisionIsKept) {
  const TemporaryDirectory place;
  const fs::path half = place.path() / "half", meta = place.path() / "meta", back = place.path() / "back";
  const Vit model = initialised_vit(options_of("deit3_small_patch16_224", 5), /*seed=*/1);
  NamedTensors tensors;
  for (const auto& [name, tensor] : model.parameters()) {
    tensors.emplace_back(name, tensor.to(tensors.size() % 2 == 0 ? at::kBFloat16 : at::kHalf));
  }
  write_safetensors(half, tensors);
  expect_converts(half, meta, "meta");
  expect_converts(meta, back, "timm");
  expect_same_tensors(half, back);
}

// A run of a custom size, which its checkpoint describes.
TEST(Weights, ARunAndItsAverageAreConverted) {
  const TemporaryDirectory place;
  const fs::path data = place.path() / "data", run = place.path() / "run", out = place.path() / "out";
  pack_images(data, 256);
  const ProcessResult trained = run_process(
      on_ranks(1, "maskedkd_train",
               teacher_arguments(data, run, {"--eval-data-path", data, "--epochs", "2", "--model-ema-decay", "0.5"})));
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  const fs::path best = run / "checkpoints" / "best";
  expect_converts(run, out, "timm");
  expect_same_tensors(best / "model.safetensors", out);
  const ProcessResult average = run_weights({"convert", run, out, "--to", "timm", "--ema", "--overwrite"});
  ASSERT_EQ(average.exit_code, 0) << average.output;
  expect_same_tensors(best / "ema.safetensors", out);

  const ProcessResult shown = run_weights({"show", run});
  EXPECT_EQ(shown.exit_code, 0);
  EXPECT_NE(shown.output.find(
                "model: not a published one: input 16 x 16, patches of 4 x 4, width 32, depth 2, 4 heads, 4 cl"),
            std::string::npos)
      << shown.output;
}

TEST(Weights, AConvertedModelOfAnySizesIsEvaluatedWithoutFlags) {
  const TemporaryDirectory place;
  const fs::path data = place.path() / "data", run = place.path() / "run", out = place.path() / "out.safetensors";
  pack_images(data, 256);
  const ProcessResult trained = run_process(on_ranks(1, "maskedkd_train", teacher_arguments(data, run)));
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  expect_converts(run, out, "meta");
  const auto evaluate = [&](const fs::path& weights) {
    const fs::path figures = place.path() / "figures.json";
    const ProcessResult result = run_process(
        on_ranks(1, "maskedkd_evaluate",
                 {"--data-path", data, "--weights", weights, "--output", figures, "--precision", "fp32", "--eval-crop",
                  "1", "--eval-batch", "64", "--device", "cpu", "--threads", "1", "--workers", "1"}));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return nlohmann::json::parse(file_bytes(figures));
  };
  const nlohmann::json expected = evaluate(run), found = evaluate(out);
  EXPECT_EQ(found.at("test_acc1"), expected.at("test_acc1"));
  EXPECT_EQ(found.at("test_loss"), expected.at("test_loss"));

  const fs::path optimizer = run / "checkpoints" / "step-000000008" / "optimizer.safetensors";
  ASSERT_TRUE(fs::exists(optimizer));
  const ProcessResult refused =
      run_process(on_ranks(1, "maskedkd_evaluate", {"--data-path", data, "--weights", optimizer}));
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.output.find("optimizer.safetensors is a part of a checkpoint, but not its weights"),
            std::string::npos)
      << refused.output;
}

TEST(Weights, ShowListsTensorsInNaturalOrderAndNamesTheModel) {
  const TemporaryDirectory place;
  const fs::path file = place.path() / "file";
  const Vit model = initialised_vit(options_of("deit_tiny_patch16_224", 10), /*seed=*/1);
  write_safetensors(file, model.parameters());
  const ProcessResult shown = run_weights({"show", file});
  EXPECT_EQ(shown.exit_code, 0);
  std::size_t position = 0;
  for (const char* line :
       {"blocks.0.attn.proj.bias     float32   [192]\n", "blocks.2.norm1.weight       float32   [192]\n",
        "blocks.10.mlp.fc1.weight    float32   [768, 192]\n", "cls_token                   float32   [1, 1, 192]\n",
        "patch_embed.proj.weight     float32   [192, 3, 16, 16]\n",
        // 5,717,416 with 1000 classes; 193 parameters a class
        "file: 152 tensors, 5,526,346 parameters, 22,105,384 bytes\n",
        "model: deit_tiny_patch16_224 or vit_tiny_patch16_224, 10 classes"}) {
    const std::size_t found = shown.output.find(line, position);
    ASSERT_NE(found, std::string::npos) << line << " in\n" << shown.output;
    position = found;
  }
}

// The sizes are those of the papers' tables and of timm.
TEST(Weights, ListNamesEveryModelWithItsSizes) {
  const ProcessResult listed = run_weights({"list"});
  EXPECT_EQ(listed.exit_code, 0);
  for (const std::string& name : known_models()) {
    EXPECT_NE(listed.output.find(name + " "), std::string::npos) << name;
  }
  for (const char* row :
       {"deit3_huge_patch14_224            deit3_huge       224     256  1280    32    16  632,126,440\n",
        "cait_s24_224                                       224     196   384  24+2     8   46,916,200\n",
        "deit_tiny_distilled_patch16_224                    224     196   192    12     3    5,910,800\n"}) {
    EXPECT_NE(listed.output.find(row), std::string::npos) << row << " in\n" << listed.output;
  }
}

}  // namespace
}  // namespace maskedkd::testing
