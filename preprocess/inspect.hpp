// `maskedkd_pack info` and `maskedkd_pack extract`: what a set holds, and one of its images as a file. One process, no
// MPI: they run where a job may not.
#pragma once

namespace maskedkd {

int run_info_command(int argc, const char* const* argv);
int run_extract_command(int argc, const char* const* argv);

}  // namespace maskedkd
