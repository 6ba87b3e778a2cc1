// The format of the checkpoints that this program writes, and the newest that it reads (manifest.json's
// format_version).
#pragma once

namespace maskedkd {

inline constexpr int kCheckpointFormatVersion = 1;

}  // namespace maskedkd
