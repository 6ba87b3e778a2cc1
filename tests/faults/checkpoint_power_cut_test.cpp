// Power fails after sampled file-system calls of saving, marking, retaining and restarting (after all with
// MASKEDKD_FAULTS=all), and what was synced survives, alone or with any part of the rest.
#include "faults/checkpoint_scenario.hpp"
#include "faults/points.hpp"
#include "support/temporary_directory.hpp"

namespace maskedkd::testing {
namespace {

struct Cut {
  std::size_t after = 0;
  Survival survival = Survival::synced_only;
  std::uint64_t seed = 0;
};

// folder_is_there: whether the folder of checkpoints exists and is durable.
void cut_after_sampled_calls(bool folder_is_there) {
  int done = 0;
  for (const CheckpointScenario& scenario : checkpoint_scenarios()) {
    const TemporaryDirectory place;
    const fs::path whole = place.path() / "whole", run = place.path() / "run", log = place.path() / "log";
    prepare(scenario, whole);
    fs::create_directories(folder_is_there ? checkpoints_of(whole) : whole);
    const PowerCut power_cut(whole);
    const ChildEnd undisturbed =
        run_recorded(whole, log, [&](Promised& promised) { train(scenario, whole, promised); });
    ASSERT_EQ(undisturbed.exit_code, 0) << undisturbed.promised.message;
    const std::vector<Operation> operations = read_operations(log);
    ASSERT_GT(operations.size(), 100U) << "the calls are not seen: is the library of faults in front of libc?";
    std::vector<Cut> cuts;
    for (std::size_t after = 0; after <= operations.size(); ++after) {
      cuts.push_back({after, Survival::synced_only, 0});
      cuts.push_back({after, Survival::prefixes, after});
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        cuts.push_back({after, Survival::random, after * 4 + seed});
      }
    }
    for (const Cut& cut : chosen_points(cuts, 80)) {
      power_cut.rebuild(operations, cut.after, cut.survival, cut.seed, run);
      const Promised promised = promised_by(operations, cut.after);
      // Parts of a checkpoint that was being removed may reappear: it is reported as damaged, never loaded, and swept.
      const bool strict = cut.survival != Survival::random;
      ASSERT_TRUE(is_unharmed(scenario, run, promised, strict))
          << scenario.name << ": after " << cut.after << " of " << operations.size() << ", variant "
          << static_cast<int>(cut.survival) << ", seed " << cut.seed;
      fs::remove_all(run);
      ++done;
    }
  }
  std::printf("%d power cuts\n", done);
  EXPECT_GT(done, 50);
}

TEST(CheckpointPowerCut, AfterSampledCallsNothingIsLost) { cut_after_sampled_calls(true); }

TEST(CheckpointPowerCut, TheFirstCheckpointOfANewFolderIsNotLost) { cut_after_sampled_calls(false); }

}  // namespace
}  // namespace maskedkd::testing
