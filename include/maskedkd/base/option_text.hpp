// An option of a program as text, with what a changed value means for a run that is resumed. The command line makes
// these (cli/options.hpp), a checkpoint keeps names and texts, and a resumed run is compared with them
// (train/run_state.hpp).
#pragma once

#include <string>
#include <vector>

namespace maskedkd {

// What happens where a run is resumed with another value than it was started with. Declared where a flag is bound.
enum class OnResume {
  fixed,     // refused: the order of samples or the meaning of the saved state would change
  reported,  // allowed and reported: the outcome changes
  compared,  // allowed: what it describes is compared itself (model, data, teacher)
  free,      // allowed: it says where or how to run
};

struct OptionText {
  std::string name;  // "batch-size"
  std::string text;
  OnResume on_resume = OnResume::reported;
  bool operator==(const OptionText&) const = default;
};

using OptionTexts = std::vector<OptionText>;  // in the order of --help

}  // namespace maskedkd
