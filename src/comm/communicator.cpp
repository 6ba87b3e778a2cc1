#include "maskedkd/comm/communicator.hpp"

#include "backends.hpp"
#include "maskedkd/base/error.hpp"

namespace maskedkd {

void check_movable(const at::Tensor& tensor, at::Device device) {
  if (!tensor.defined() || tensor.scalar_type() != at::kFloat || !tensor.is_contiguous() ||
      tensor.device().type() != device.type()) {
    throw Error(fmt::format("only contiguous float32 tensors on {} can be sent to other ranks", device.str()));
  }
}

void check_exchange(const at::Tensor& send, const at::Tensor& receive, int peer, int world_size, at::Device device) {
  check_movable(send, device);
  check_movable(receive, device);
  if (peer < 0 || peer >= world_size) {
    throw Error(fmt::format("can't exchange values with rank {} of {}", peer, world_size));
  }
}

std::unique_ptr<Communicator> make_communicator(const MpiSession& session, at::Device device) {
  if (device.is_cpu()) {
    return make_mpi_communicator(session);
  }
#ifdef MASKEDKD_WITH_CUDA
  return make_nccl_communicator(session, device);
#else
  throw usage_error("this build has no NCCL", "configure with -DMASKEDKD_CUDA=ON, or train with --device cpu");
#endif
}

}  // namespace maskedkd
