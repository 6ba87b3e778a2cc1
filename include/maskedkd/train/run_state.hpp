// Where a run is, besides its tensors: what a checkpoint's state.json holds. Plain numbers and text.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace maskedkd {

using OptionTexts = std::vector<std::pair<std::string, std::string>>;  // every option of the run, as given, in order

// Of whose weights the checkpoint is that `best` points to.
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
  // What the run is, to be compared when it goes on
  std::string model;  // JSON
  std::string data_set_id;
  std::string teacher_sha256;  // of the teacher's file; empty without one
  std::string teacher_model;   // JSON; empty without a teacher, and of runs from before it was kept
  OptionTexts options;
  // Where it was computed: another order of sums has another last bit. 0 and empty: of runs from before it was kept.
  int ranks = 0;
  int threads = 0;     // a rank
  std::string device;  // cpu or cuda
};

std::string to_json(const RunState& state);
RunState parse_run_state(const std::string& json, const std::string& source);  // throws Error

// What a resumed run may not change is refused in one line with the old and the new value (Error, usage); what it may,
// but which changes the outcome, if only by rounding, is returned as lines to tell.
std::vector<std::string> compare_runs(const RunState& before, const RunState& now);

// Of these alone: the options that no run may change.
void refuse_fixed_changes(const OptionTexts& before, const OptionTexts& now);

}  // namespace maskedkd
