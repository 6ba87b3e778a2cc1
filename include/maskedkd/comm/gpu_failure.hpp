// What a failure reported by LibTorch means for the run. cli/run_main uses it where a process ends, also in programs
// without LibTorch and CUDA, so failures are recognised by their text.
#pragma once

#include <string_view>

namespace maskedkd {

enum class DeviceFailure {
  none,     // not a failure of a device or its memory
  memory,   // memory of a GPU ran out, or that of the host where LibTorch allocates it
  gpu,      // broken or lost: ECC, NVLink, Xid, a failed launch; this process can't use it any more
  mistake,  // the program made an invalid call: another start ends the same way
};

// Pure. message: what() of an exception of LibTorch, whose first line contains the error of CUDA, cuBLAS or cuDNN. By
// CUDA's description of each error, `gpu` are those that leave the process unable to work, except a failed assertion,
// and devices, drivers and MPS servers that are not ready.
DeviceFailure kind_of_failure(std::string_view message);

}  // namespace maskedkd
