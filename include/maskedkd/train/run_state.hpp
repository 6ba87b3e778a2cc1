// Where a run is, besides its tensors: what a checkpoint's state.json holds. Plain numbers and text.
#pragma once

#include "maskedkd/base/option_text.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace maskedkd {

// The evaluation whose checkpoint `best` points to.
struct BestEpoch {
  double accuracy = -1;  // per cent, top 1; -1: none yet
  std::int64_t epoch = -1;
  std::int64_t step = -1;
};

struct RunState {
  // Position: the next step is `step` of `epoch`; a checkpoint lies between two steps.
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
  // What the run is; compared when it is resumed
  std::string model;  // JSON
  std::string data_set_id;
  std::string teacher_sha256;  // of the teacher's file; empty without one
  std::string teacher_model;   // JSON; empty without a teacher
  OptionTexts options;         // as they are in force; a state that is read back has names and texts only
  // Where it was computed: sums in another order differ in their last bits.
  int ranks = 0;
  int threads = 0;     // a rank
  std::string device;  // cpu or cuda
};

std::string to_json(const RunState& state);
RunState parse_run_state(const std::string& json, const std::string& source);  // throws Error

// Compares a run with the state that it is resumed from, option by option as `now` declares them (OnResume). Throws
// Error (usage) with the old and the new value where something differs that must not. Returns a line for each
// difference that is allowed but changes the outcome, if only by rounding.
std::vector<std::string> compare_runs(const RunState& before, const RunState& now);

// The part of compare_runs() that concerns OnResume::fixed. Throws Error (usage).
void refuse_fixed_changes(const OptionTexts& before, const OptionTexts& now);

}  // namespace maskedkd
