// Pictures whose compressed data are damaged are trained on and evaluated as PIL decodes them, but not silently.
#pragma once

#include <string>

namespace maskedkd {

// Warns of the first such picture of this process, and of their number at the 10th, 100th, 1000th and so on. record: as
// ShardSet::describe() names it; one that was noted before changes nothing. Thread-safe.
void note_damaged_picture(const std::string& record, const std::string& damage);

}  // namespace maskedkd
