// The command line of maskedkd_train: every option of a run with its flag, and what follows from several flags at once.
#pragma once

#include "maskedkd/cli/options.hpp"
#include "maskedkd/comm/topology.hpp"
#include "maskedkd/train/run_state.hpp"
#include "maskedkd/train/train_options.hpp"

#include <optional>
#include <string>

namespace maskedkd {

struct TrainCommand {
  TrainOptions train;
  DeviceChoice device = DeviceChoice::automatic;
  int threads = 0;  // CPU threads a rank; 0: the node's cores shared by its ranks

  // nullopt where --help was asked for, and is in `help`. Reads the index of the training data where --num-classes is
  // not given. Throws Error (usage).
  static std::optional<TrainCommand> parse(int argc, const char* const* argv, std::string& help);

  // Every option with what is in force: of a published --model its sizes, of a folder with train and val these two, ...
  // What only the ranks know (device, threads, workers, prefetch) is as it was given until it is shown.
  OptionTexts texts;
  void show(const OptionTexts& in_force);  // of options that there are
};

}  // namespace maskedkd
