// Faults that NULL_DEVICE_FAULT plans: "NAME:NTH:CODE[@RANK]", separated by commas. NAME is one of a call (trace.hpp);
// h2d or d2h for copies of pinned and pageable memory; sync for all three waits; or stall: the NTH collective operation
// does not end before its communicator is aborted. CODE is the library's own error code; -1: the call never returns;
// -2: the process is killed; for NCCL 1000 + CODE: an asynchronous error, which ncclCommGetAsyncError reports. An error
// that CUDA calls sticky fails all later calls too.
#pragma once

namespace maskedkd::null_device {

// Counts a call by this name, and returns its planned code or the sticky error, or 0.
int fault_at(const char* name);
// The sticky error of the process, or 0: waits return, as nothing is executed any more.
int sticky_error();

}  // namespace maskedkd::null_device
