// The command line of maskedkd_train: every option of a run with its flag and whether a resumed run may change it, and
// the values that follow from several flags. A new flag is bound in one of the bind_...() of train_command.cpp to a
// member of TrainOptions, which checks its value in validate().
#pragma once

#include "maskedkd/base/option_text.hpp"
#include "maskedkd/cli/options.hpp"
#include "maskedkd/comm/topology.hpp"
#include "maskedkd/train/train_options.hpp"

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace maskedkd {

struct TrainCommand {
  TrainOptions train;
  DeviceChoice device = DeviceChoice::automatic;
  int threads = 0;  // CPU threads a rank; 0: the node's cores shared by its ranks

  // nullopt where --help was asked for; its text is in `help`. Reads the index of the training data where --num-classes
  // is not given. Throws Error (usage).
  static std::optional<TrainCommand> parse(int argc, const char* const* argv, std::string& help);

  // Every option with the value in force: for a published --model its sizes, for a folder that holds train and val both
  // folders, ... What only the ranks find out (device, threads, workers, prefetch) is as given until main sets it.
  OptionTexts texts;
  void set_texts(const std::vector<std::pair<std::string, std::string>>& in_force);  // name, text; of known options
};

}  // namespace maskedkd
