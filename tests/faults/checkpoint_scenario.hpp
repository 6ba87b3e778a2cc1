// A minimal training's use of checkpoints. The tests of faults call the checkpoint module only through this file.
#pragma once

#include "checkpoint/example.hpp"
#include "faults/faulty_child.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace maskedkd::testing {

struct CheckpointScenario {
  std::string name;
  std::int64_t first = 1, last = 5;  // saved steps; the 2nd, 5th, ... is marked as the best
  bool damaged = false;              // begins with a checkpoint, a newer damaged one, and leftovers
  std::int64_t before() const { return damaged ? first - 1 : 0; }
};

inline std::vector<CheckpointScenario> checkpoint_scenarios() {
  return {{"a new run", 1, 5, false}, {"behind a damaged checkpoint", 6, 8, true}};
}

inline fs::path checkpoints_of(const fs::path& run) { return run / "run" / "checkpoints"; }

// Takes the lease for one start of the run; a process that was killed is recognised as dead at once.
inline std::unique_ptr<Lease> take(const fs::path& run) {
  return std::make_unique<Lease>(run / "run", this_process("a test"),
                                 LeaseOptions{.timeout = std::chrono::milliseconds(50)});
}

inline void prepare(const CheckpointScenario& scenario, const fs::path& run) {
  if (scenario.damaged) {
    const fs::path root = checkpoints_of(run);
    const auto lease = take(run);
    save_checkpoint(*lease, root, example_state(scenario.first - 1));
    fs::resize_file(save_checkpoint(*lease, root, example_state(scenario.first)) / "model.safetensors", 100);
  }
}

// What the next start does after it has taken the lease.
inline std::optional<LoadedCheckpoint> start_again(const fs::path& run,
                                                   const std::function<void(const std::string&)>& on_damaged) {
  return find_newest_checkpoint(checkpoints_of(run), on_damaged);
}

inline void save_and_tell(const Lease& lease, const fs::path& run, std::int64_t step, Promised& promised) {
  const fs::path root = checkpoints_of(run);
  const fs::path path = save_checkpoint(lease, root, example_state(step));
  promised.step = step;
  mark_promised(promised);
  if (step % 3 == 2) {
    mark_best(lease, root, path);
    promised.best = step;
    mark_promised(promised);
  }
  retain_checkpoints(lease, root, {2});
}

inline void train(const CheckpointScenario& scenario, const fs::path& run, Promised& promised) {
  const auto lease = take(run);
  const auto found = start_again(run, [](const std::string&) {});
  if (found) {
    promised.step = found->step;
    mark_promised(promised);
  }
  for (std::int64_t step = found ? found->step + 1 : scenario.first; step <= scenario.last; ++step) {
    save_and_tell(*lease, run, step, promised);
  }
  lease->put_text("finished", run / "run" / "finished.json");
  lease->release("finished");
}

// Records the calls of an undisturbed scenario in folders below `place`.
inline std::vector<Operation> undisturbed_calls(const CheckpointScenario& scenario, const fs::path& place) {
  const fs::path whole = place / "whole";
  prepare(scenario, whole);
  fs::create_directories(whole);
  const ChildEnd end =
      run_recorded(whole, place / "log", [&](Promised& promised) { train(scenario, whole, promised); });
  EXPECT_EQ(end.exit_code, 0) << end.promised.message;
  EXPECT_EQ(end.promised.step, scenario.last);
  return read_operations(place / "log");
}

// After a fault, the newest checkpoint is the promised one or the one being saved, and it and the best one are whole;
// nothing incomplete passes for a checkpoint; the next start resumes and finishes. strict: no listed checkpoint may be
// damaged that was not so before.
inline ::testing::AssertionResult is_unharmed(const CheckpointScenario& scenario, const fs::path& run,
                                              const Promised& promised, bool strict = true) {
  const fs::path root = checkpoints_of(run);
  const auto fails = [&](const std::string& why) {
    return ::testing::AssertionFailure() << why << "; promised: step " << promised.step << ", best " << promised.best;
  };
  const std::int64_t promised_step = std::max(promised.step, scenario.before());
  if (strict) {
    for (const fs::path& path : list_checkpoints(root)) {
      try {
        const LoadedCheckpoint loaded = load_checkpoint(path);
        if (!is_example_state(loaded, loaded.step)) {
          return fails(path.string() + " has another content than was saved");
        }
      } catch (const Error& error) {
        if (!scenario.damaged || path != checkpoint_path(root, scenario.first)) {
          return fails(error.what());
        }
      }
    }
  }
  std::string damage;
  std::unique_ptr<Lease> lease = take(run);
  const auto found = start_again(run, [&](const std::string& what) { damage = what; });
  if (!damage.empty() && damage.find(checkpoint_path(root, scenario.first)) == std::string::npos) {
    return fails(damage);
  }
  if (!found && promised_step > 0) {
    return fails("no checkpoint is left");
  }
  const std::int64_t step = found ? found->step : 0;
  if (step < promised_step || step > promised_step + 1 || (found && !is_example_state(*found, step))) {
    return fails("found step " + std::to_string(step));
  }
  if (promised.best > 0 || fs::is_symlink(root / "best")) {
    const LoadedCheckpoint best = load_checkpoint(root / "best");
    if (best.step < promised.best || best.step % 3 != 2 || !is_example_state(best, best.step)) {
      return fails("best is step " + std::to_string(best.step));
    }
  }
  if (has_leftovers(run / "run")) {
    return fails("leftovers after the next start");
  }
  lease.reset();
  Promised again;
  train(scenario, run, again);
  lease = take(run);
  save_and_tell(*lease, run, scenario.last + 1, again);
  const auto last = start_again(run, nothing_is_damaged);
  if (!last || !is_example_state(*last, scenario.last + 1)) {
    return fails("the next start did not come to the end");
  }
  if (list_checkpoints(root).size() > 3 || names_in(root).size() > 4) {
    return fails("old checkpoints or leftovers stay");
  }
  return ::testing::AssertionSuccess();
}

}  // namespace maskedkd::testing
