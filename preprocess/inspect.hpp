// `maskedkd_pack info` describes a set, `maskedkd_pack extract` writes one of its images to a file. Both are one
// process without MPI, so that they run on login nodes, where no job may.
#pragma once

namespace maskedkd {

int run_info_command(int argc, const char* const* argv);
int run_extract_command(int argc, const char* const* argv);

}  // namespace maskedkd
