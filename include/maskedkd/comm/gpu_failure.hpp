// What a failure that LibTorch reports means for the run: a GPU that broke (another start may do, exit code 85), memory
// that ran out (less of it may do), or a mistake of the program. Asked by cli/run_main where a process ends, also of
// programs that have neither LibTorch nor CUDA in them: so it goes by texts.
#pragma once

#include <string_view>

namespace maskedkd {

enum class DeviceFailure {
  none,     // nothing of a device or its memory
  memory,   // of a GPU, or of the host where LibTorch allocates it
  gpu,      // broke or was lost: ECC, NVLink, Xid, a launch that failed; the process can't use it any more
  mistake,  // the program called wrongly: another start ends the same way
};

// Pure. code: a cudaError_t. The kinds follow CUDA's description of each code: `gpu` are those that leave the process
// unable to work, but for a failed assertion, and those of a device, driver or MPS server that is not ready.
DeviceFailure kind_of_cuda_error(int code);

// Pure. Of what() of an exception of LibTorch, whose first line names CUDA's, cuBLAS' or cuDNN's error.
DeviceFailure kind_of_failure(std::string_view message);

}  // namespace maskedkd
