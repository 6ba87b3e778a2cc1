#include "maskedkd/train/device_setup.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstdlib>

namespace maskedkd {

void set_up_device(at::Device device) {
  if (!device.is_cuda()) {
    return;
  }
  const c10::impl::VirtualGuardImpl guard(device.type());
  guard.exchangeStream(guard.getStreamFromGlobalPool(device));
  const at::Tensor x = at::ones({16, 16}, at::TensorOptions(at::kFloat).device(device)).requires_grad_();
  at::matmul(x, x).sum().backward();
  unsetenv("CUBLAS_WORKSPACE_CONFIG");
}

}  // namespace maskedkd
