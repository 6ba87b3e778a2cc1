// Open MPI moves large messages between ranks of a node by reading the other process's memory (process_vm_readv,
// "CMA"). Containers often forbid that; Open MPI notices only when a message fails, prints "Read -1, expected N, errno
// = 1" for each one, and falls back. Turned off, messages go through shared memory: measured with 2 ranks, a sum over
// 23 MB (DeiT-Tiny's gradients) takes 9 ms in place of 10, one over 344 MB (DeiT-Base's) 400 to 1,080 in place of 255.
#pragma once

namespace maskedkd {

// What decides whether a process may read the memory of another one of the same user.
struct MemoryAccess {
  bool reads_itself = true;   // process_vm_readv of this process's own memory works: no seccomp filter forbids it
  bool is_dumpable = true;    // as processes are, unless the file of the program may not be read
  int ptrace_scope = 0;       // of the Yama security module; at 2 and 3 only administrators may trace
  bool in_container = false;  // in a user or process namespace: ranks in others can't be reached
};

// Pure.
bool allows_single_copy(const MemoryAccess& access);

// As this process finds it.
MemoryAccess memory_access();

// Before MPI_Init: turns single copies off in this process's environment where they are not allowed and the user has
// not chosen a mechanism (OMPI_MCA_btl_vader_single_copy_mechanism; OMPI_MCA_smsc of Open MPI 5).
void turn_off_forbidden_single_copy(const MemoryAccess& access);

}  // namespace maskedkd
