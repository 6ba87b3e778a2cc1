// Images whose compressed data are damaged are used for training and evaluation as PIL decodes them, with a warning.
#pragma once

#include <string>

namespace maskedkd {

// Warns of the first such image and of their number at the 10th, 100th, ... record: ShardSet::describe(). Thread-safe.
void report_damaged_image(const std::string& record, const std::string& damage);

}  // namespace maskedkd
