// Open MPI copies large messages between the ranks of a node directly from the sender's memory (process_vm_readv,
// "CMA"). Containers often forbid that; Open MPI notices only when a message fails, prints "Read -1, expected N, errno
// = 1" for each, and falls back. Without it, messages go through shared memory: measured with 2 ranks, a sum over 23 MB
// (DeiT-Tiny's gradients) takes 9 ms instead of 10, over 344 MB (DeiT-Base's) 400 to 1,080 instead of 255.
#pragma once

namespace maskedkd {

// What decides whether a process may read the memory of another process of the same user.
struct MemoryAccess {
  bool reads_itself = true;   // process_vm_readv works on this process's own memory: no seccomp filter forbids it
  bool is_dumpable = true;    // true by default, unless the program's file is not readable
  int ptrace_scope = 0;       // of the Yama security module; at 2 and 3 only administrators may trace
  bool in_container = false;  // in a user or process namespace: ranks in others can't be reached
};

bool allows_single_copy(const MemoryAccess& access);

// The values for this process.
MemoryAccess memory_access();

// Called before MPI_Init. Where single copies are not allowed, turns them off in this process's environment, unless the
// user has chosen a mechanism (OMPI_MCA_btl_vader_single_copy_mechanism; OMPI_MCA_smsc of Open MPI 5).
void turn_off_forbidden_single_copy(const MemoryAccess& access);

}  // namespace maskedkd
