// The position and results of a run, without its tensors: the content of a checkpoint's state.json.
#pragma once

#include "maskedkd/base/option_text.hpp"

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace maskedkd {

// The evaluation of the checkpoint that is marked as the best.
struct BestEpoch {
  double accuracy = -1;  // per cent, top 1; -1: none yet
  std::int64_t epoch = -1;
  std::int64_t step = -1;
};

struct RunState {
  // Position: the next step is `step` of `epoch`; checkpoints are made between steps.
  std::int64_t epoch = 0;
  std::int64_t step = 0;
  std::int64_t global_step = 0;
  double epoch_loss_sum = 0;  // over the micro-batches of this epoch so far
  // Results
  BestEpoch best;
  std::vector<std::string> history;  // log.txt, a JSON object a line
  // fp16
  double loss_scale = 1;
  int good_steps = 0;
  // Identity of the run, compared when it is resumed
  std::string model;  // JSON
  std::string data_set_id;
  std::string teacher_sha256;  // of the teacher's file; empty without one
  std::string teacher_model;   // JSON; empty without a teacher
  OptionTexts options;         // the resolved ones; a parsed state has only names and texts
  // Where it was computed: another order of additions changes the last bits.
  int ranks = 0;
  int threads = 0;                // for each rank
  std::string device;             // cpu or cuda
  std::vector<std::string> gpus;  // their names, each once, sorted: one GPU for each rank; empty on CPUs
};

std::string to_json(const RunState& state);
RunState parse_run_state(const std::string& json, const std::string& source);  // throws Error

// Compares a run with the state that it is resumed from; `now` declares for each option what may change (OnResume).
// Throws Error (usage) with the old and the new value where something differs that must not. Returns a line for each
// allowed difference that changes the outcome, if only by rounding.
std::vector<std::string> compare_runs(const RunState& before, const RunState& now);

// "the GPUs change from 2 x NVIDIA H100 to 1 x NVIDIA A100: ..."; empty where they do not, or one of the two is
// unknown.
std::string change_of_gpus(const RunState& before, const RunState& now);

// A line for each option of these kinds whose text differs.
std::vector<std::string> changed_options(const OptionTexts& before, const OptionTexts& now,
                                         std::initializer_list<OnResume> kinds);

// The part of compare_runs() that concerns OnResume::fixed. Throws Error (usage).
void refuse_fixed_changes(const OptionTexts& before, const OptionTexts& now);

}  // namespace maskedkd
