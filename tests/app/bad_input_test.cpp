// Mistakes of users give one line that says what is wrong, where, and what to do, and a non-zero exit code of all ranks
// within ten seconds; nothing is damaged.
#include "app/training_run.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <regex>
#include <thread>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

// A line of this program, not of mpiexec: "12:34:56 error [rank 0] ...".
std::vector<std::string> error_lines(const std::string& output) {
  const std::regex line(R"(\d\d:\d\d:\d\d error .*)");
  std::vector<std::string> lines;
  for (auto match = std::sregex_iterator(output.begin(), output.end(), line); match != std::sregex_iterator();
       ++match) {
    lines.push_back(match->str());
  }
  return lines;
}

class BadInput : public TrainingRun {
 protected:
  static fs::path path(const std::string& name) { return run_folder(name); }
  static Arguments arguments(const Arguments& more, const std::string& output = "run") {
    return student_arguments(data(), teacher(), path(output), more);
  }
  static fs::path data_copy(const std::string& name) {
    fs::copy(data(), path(name), fs::copy_options::recursive);
    return path(name);
  }

  static void expect_refusal(const ProcessResult& result, int exit_code, const std::vector<std::string>& parts) {
    EXPECT_EQ(result.exit_code, exit_code) << result.output;
    EXPECT_LT(result.seconds, 10.0);
    const std::vector<std::string> lines = error_lines(result.output);
    ASSERT_EQ(lines.size(), 1U) << result.output;
    for (const std::string& part : parts) {
      EXPECT_NE(lines.front().find(part), std::string::npos) << "no '" << part << "' in: " << lines.front();
    }
  }
  static void expect_train_refuses(const Arguments& arguments, const std::vector<std::string>& parts, int exit_code = 2,
                                   int ranks = 2) {
    expect_refusal(run_process(on_ranks(ranks, "maskedkd_train", arguments)), exit_code, parts);
  }
};

TEST_F(BadInput, WrongOptionsAreRefused) {
  expect_train_refuses(arguments({"--bach-size", "32"}), {"--bach-size", "--batch-size"});
  expect_train_refuses(arguments({"--batch-size", "36"}), {"36", "--micro-batch 8"});
  expect_train_refuses(arguments({"--micro-batch", "1"}), {"--micro-batch 1 is odd", "--mixup 0 --cutmix 0"});
  expect_train_refuses(arguments({"--batch-size", "8"}), {"2 ranks", "1 micro-batches", "at most 1"});
  expect_train_refuses(arguments({"--batch-size", "8"}), {"of all ranks", "--batch-size 16", "--micro-batch 4"});
  expect_train_refuses(arguments({"--sched", "step"}), {"--sched", "official code", "cosine"});
  expect_train_refuses(arguments({"--precision", "fp16"}), {"fp16 is for GPUs", "bf16"});
  expect_train_refuses(arguments({"--patch-size", "3"}), {"patch"});
  expect_train_refuses(arguments({"--lr", "-1"}), {"--lr -1"});
}

TEST_F(BadInput, WrongOptionsOfAugmentationAreRefused) {
  expect_train_refuses(arguments({"--aa", "rand-m9-foo3"}), {"--aa rand-m9-foo3", "'foo3'", "mstd0.5"});
  expect_train_refuses(arguments({"--aa", "rand-m9", "--three-augment"}), {"--aa", "--three-augment"});
  expect_train_refuses(arguments({"--color-jitter", "0.4"}), {"--color-jitter", "--aa is none"});
  expect_train_refuses(arguments({"--aa", "none", "--color-jitter", "-1"}), {"--color-jitter -1"});
  expect_train_refuses(arguments({"--train-interpolation", "nearest"}), {"nearest", "bilinear, bicubic, random"});
  expect_train_refuses(arguments({"--erasing-mode", "noise"}), {"--erasing-mode", "pixel, rand, const"});
  expect_train_refuses(arguments({"--erasing-count", "0"}), {"--erasing-count 0"});
  expect_train_refuses(arguments({"--erasing", "0", "--erasing-count", "2"}), {"--erasing-count", "--erasing 0"});
  expect_train_refuses(arguments({"--cutmix-minmax", "0.8,0.2"}), {"--cutmix-minmax", "0.8,0.2"});
  expect_train_refuses(arguments({"--cutmix-minmax", "0.2,0.8", "--cutmix", "1"}), {"--cutmix", "--cutmix-minmax"});
  expect_train_refuses(arguments({"--augment-on", "tpu"}), {"--augment-on", "'tpu'", "cpu, gpu"});
  expect_train_refuses(arguments({"--augment-on", "gpu", "--device", "cpu"}), {"--augment-on gpu", "on CPUs"});
}

TEST_F(BadInput, WrongOptionsOfMasksAreRefused) {
  const Arguments alone = teacher_arguments(data(), path("run"));
  const auto alone_with = [&](const char* flag, const char* value) {
    Arguments all = alone;
    all.insert(all.end(), {flag, value});
    return all;
  };
  expect_train_refuses(arguments({"--keep", "17"}), {"--keep 17", "1..16"});
  expect_train_refuses(arguments({"--keep", "0"}), {"--keep 0", "0.5 half"});
  expect_train_refuses(arguments({"--keep", "1.5"}), {"--keep 1.5", "at most 1.0"});
  expect_train_refuses(arguments({"--mask-criterion", "best"}), {"best", "student, random, lowest, teacher, all"});
  expect_train_refuses(arguments({"--keep-schedule", "step"}), {"step", "constant, linear, cosine"});
  expect_train_refuses(arguments({"--keep-schedule", "linear", "--keep-start", "17"}), {"--keep-start 17", "1..16"});
  expect_train_refuses(arguments({"--keep-start", "1.0"}), {"--keep-start", "--keep-schedule constant"});
  expect_train_refuses(arguments({"--mask-criterion", "all", "--keep", "8"}), {"--keep", "--mask-criterion all"});
  expect_train_refuses(arguments({"--mask-criterion", "all", "--keep-schedule", "linear"}),
                       {"--keep-schedule", "--mask-criterion all"});
  expect_train_refuses(alone_with("--keep", "0.5"), {"--keep", "--distillation-type none", "no teacher"});
  expect_train_refuses(alone_with("--mask-criterion", "random"), {"--mask-criterion", "no teacher"});
  expect_train_refuses(alone_with("--keep-schedule", "cosine"), {"--keep-schedule", "no teacher"});
  expect_train_refuses(alone_with("--keep-start", "8"), {"--keep-start", "no teacher"});
}

TEST_F(BadInput, UnknownModelsAndOtherClassesAreRefused) {
  Arguments unknown = {"--data-path", data(), "--output-dir", path("run"), "--model", "deit_tony"};
  expect_train_refuses(unknown, {"deit_tony", "deit_tiny_patch16_224", "deit3_huge_patch14_224"});
  expect_train_refuses(arguments({"--teacher-path", path("nothing")}), {"--teacher-path", "nothing"});
  expect_train_refuses(arguments({"--teacher-model", "deit3_smal"}), {"deit3_smal", "deit3_small"});
  expect_train_refuses(arguments({"--num-classes", "3"}), {"4 classes", "student 3", "at least --num-classes 4"});
  expect_train_refuses(arguments({"--num-classes", "-1"}), {"--num-classes -1"});
  pack_images(path("five"), 256, 5);
  expect_train_refuses(arguments({"--data-path", path("five")}), {"student has 5 classes", "teacher 4"});
}

TEST_F(BadInput, FoldersWithoutDataOrThatCanNotBeMadeAreRefused) {
  expect_train_refuses(arguments({"--data-path", path("nowhere")}), {"nowhere"});
  fs::create_directory(path("empty"));
  expect_train_refuses(arguments({"--data-path", path("empty")}), {"empty", "index.json"});
  std::ofstream(path("a-file")) << "text";
  expect_train_refuses(arguments({}, "a-file/run"), {"a-file"});
}

TEST_F(BadInput, DamagedShardsAreRefused) {
  const fs::path truncated = data_copy("truncated");
  fs::resize_file(truncated / "shard-00001.h5", fs::file_size(truncated / "shard-00001.h5") - 7);
  expect_train_refuses(arguments({"--data-path", truncated}), {"shard-00001.h5"});

  const fs::path missing = data_copy("missing");
  fs::remove(missing / "shard-00002.h5");
  expect_train_refuses(arguments({"--data-path", missing}), {"shard-00002.h5"});

  const fs::path foreign = data_copy("foreign");
  pack_images(path("other"), 256, 2);
  fs::copy_file(path("other") / "shard-00000.h5", foreign / "shard-00000.h5", fs::copy_options::overwrite_existing);
  expect_train_refuses(arguments({"--data-path", foreign}), {"shard-00000.h5"});

  const fs::path flipped = data_copy("flipped");
  flip_a_bit(flipped / "shard-00001.h5");
  const ProcessResult result =
      run_process(on_ranks(2, "maskedkd_train", arguments({"--data-path", flipped}, "flipped-run")));
  EXPECT_NE(result.exit_code, 0);
  ASSERT_FALSE(error_lines(result.output).empty()) << result.output;
  EXPECT_NE(error_lines(result.output).front().find("shard-00001.h5"), std::string::npos) << result.output;
}

TEST_F(BadInput, AnotherRunInTheOutputDirectoryIsRefused) {
  const ProcessResult first =
      run_process(on_ranks(1, "maskedkd_train", arguments({"--stop-after-steps", "3"}, "taken")));
  ASSERT_EQ(first.exit_code, 85) << first.output;
  const fs::path checkpoint = path("taken") / "checkpoints" / "step-000000003" / "model.safetensors";
  const std::string before = file_bytes(checkpoint);
  expect_train_refuses(arguments({"--width", "32"}, "taken"), {"a model of width 24, now it is width 32"});
  expect_train_refuses(arguments({"--seed", "5"}, "taken"), {"--seed", "0", "5"});
  expect_train_refuses(arguments({"--batch-size", "64"}, "taken"), {"--batch-size", "32", "64"});
  expect_train_refuses(arguments({"--resume", "none"}, "taken"), {"--resume is none"});
  expect_train_refuses(arguments({"--resume", path("nothing")}, "taken"), {"nothing"});
  EXPECT_EQ(before, file_bytes(checkpoint));
}

TEST_F(BadInput, ADamagedTeacherIsRefused) {
  fs::copy(teacher(), path("damaged-teacher"), fs::copy_options::recursive);
  const fs::path weights = path("damaged-teacher") / "model.safetensors";
  flip_a_bit(weights);
  expect_train_refuses(arguments({"--teacher-path", path("damaged-teacher")}), {"damaged-teacher", "SHA-256"});
}

TEST_F(BadInput, ALossThatIsNotFiniteEndsWith93AndNamesTheStep) {
  const ProcessResult result =
      run_process(on_ranks(2, "maskedkd_train", arguments({"--lr", "1e30", "--warmup-epochs", "0"}, "diverged")));
  EXPECT_EQ(result.exit_code, 93) << result.output;
  EXPECT_LT(result.seconds, 10.0);
  ASSERT_EQ(error_lines(result.output).size(), 1U) << result.output;
  EXPECT_TRUE(std::regex_search(result.output, std::regex("step [0-9]+ \\(epoch 1\\)"))) << result.output;
}

TEST_F(BadInput, TheSecondTrainingInOneDirectoryIsRefused) {
  BackgroundProcess first(on_ranks(1, "maskedkd_train", arguments({"--epochs", "2000"}, "shared")));
  while (first.running() && !fs::exists(path("shared") / "checkpoints" / "step-000000008")) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  expect_train_refuses(arguments({"--epochs", "2000"}, "shared"), {"shared", "maskedkd_train on "});
  ASSERT_TRUE(first.running());
  first.signal(SIGUSR1);  // mpiexec passes it on to its rank
  EXPECT_EQ(first.wait(20).exit_code, 85);
}

// No file may become larger than 120 KiB: the weights fit, the optimizer's state does not.
TEST_F(BadInput, ADiskThatIsFullWhileSavingGivesAMessageAndLosesNothing) {
  ASSERT_EQ(run_process(on_ranks(1, "maskedkd_train", arguments({"--stop-after-steps", "5"}, "full"))).exit_code, 85);
  Arguments limited = on_ranks(2, "maskedkd_train", arguments({}, "full"));
  limited.insert(limited.begin() + 3, {"bash", "-c", "ulimit -f 120; exec \"$@\"", "limited"});
  const ProcessResult ended = run_process(limited);
  EXPECT_EQ(ended.exit_code, 85) << ended.output;
  for (const char* part : {"can't save a checkpoint in", "File too large", "the run continues",
                           "stopped after step 48 (epoch 7, step 0 of 8) without a new checkpoint"}) {
    EXPECT_NE(ended.output.find(part), std::string::npos) << part << ended.output;
  }
  EXPECT_FALSE(fs::exists(path("full") / "finished.json"));
  int left = 0;
  for (const auto& entry : fs::directory_iterator(path("full") / "checkpoints")) {
    left += entry.path().filename().string().rfind("step-", 0) == 0 ? 1 : 0;
  }
  EXPECT_EQ(left, 1);
  EXPECT_EQ(run_process(on_ranks(2, "maskedkd_train", arguments({}, "full"))).exit_code, 0);
}

TEST_F(BadInput, ADamagedAverageIsRefused) {
  const ProcessResult averaged = run_process(
      on_ranks(1, "maskedkd_train", arguments({"--model-ema-decay", "0.5", "--stop-after-steps", "3"}, "averaged")));
  ASSERT_EQ(averaged.exit_code, 85) << averaged.output;
  const fs::path checkpoint = path("averaged") / "checkpoints" / "step-000000003";
  const Arguments evaluation = {"--data-path", data(), "--weights", path("averaged"),
                                "--ema"};  // uses the newest checkpoint, as there is no best one
  const ProcessResult whole = run_process(on_ranks(2, "maskedkd_evaluate", evaluation));
  ASSERT_EQ(whole.exit_code, 0) << whole.output;
  flip_a_bit(checkpoint / "ema.safetensors");
  expect_refusal(run_process(on_ranks(2, "maskedkd_evaluate", evaluation)), 2, {"ema.safetensors", "SHA-256"});
}

TEST_F(BadInput, WrongOptionsOfTheEvaluationAreRefused) {
  const auto evaluate = [](const Arguments& given) { return run_process(on_ranks(2, "maskedkd_evaluate", given)); };
  expect_refusal(evaluate({"--data-path", data(), "--weights", path("nothing")}), 2, {"--weights", "nothing"});
  expect_refusal(evaluate({"--data-path", data(), "--weights", teacher(), "--ema"}), 2, {"ema.safetensors"});
  expect_refusal(evaluate({"--data-path", data(), "--weights", teacher() / "model.safetensors", "--model",
                           "deit_tiny_patch16_224"}),
                 2, {"model.safetensors"});
  pack_images(path("seven"), 70, 7);
  expect_refusal(evaluate({"--data-path", path("seven"), "--weights", teacher()}), 2, {"7 classes", "model 4"});
}

}  // namespace
}  // namespace maskedkd::testing
