// The implementations of communicator.hpp: MPI for ranks on CPUs, NCCL for ranks on GPUs.
#pragma once

#include "maskedkd/comm/communicator.hpp"

namespace maskedkd {

std::unique_ptr<Communicator> make_mpi_communicator(const MpiSession& session);
#ifdef MASKEDKD_WITH_CUDA
std::unique_ptr<Communicator> make_nccl_communicator(const MpiSession& session, at::Device device);
#endif

// Throws Error unless the tensor is contiguous float32 on a device of this type.
void check_movable(const at::Tensor& tensor, at::Device device);
// Throws Error also where there is no such peer.
void check_exchange(const at::Tensor& send, const at::Tensor& receive, int peer, int world_size, at::Device device);

}  // namespace maskedkd
