// Sums of gradients over the ranks beside the current stream, as the trainer queues them, of gradients that arrive by
// copies: so their values are there without arithmetic. NCCL adds for real. Ends with 3 where a sum is wrong.
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/train/device_setup.hpp"
#include "maskedkd/train/gradient_sum.hpp"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/cuda/CUDAFunctions.h>

#include <vector>

int main(int argc, char** argv) {
  using namespace maskedkd;
  constexpr int kSteps = 12, kWrongBytes = 3;
  constexpr std::int64_t kValues = 4096;
  const MpiSession session(argc, argv);
  const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(session.rank()));
  c10::cuda::set_device(device.index());
  set_up_device(device);
  const std::unique_ptr<Communicator> communicator = make_communicator(session, device);
  GradientSum sum(*communicator, device, /*deterministic=*/false);

  const at::TensorOptions pinned = at::TensorOptions(at::kFloat).pinned_memory(true);
  const at::Tensor own = at::empty({kSteps, kValues}, pinned), found = at::empty({kSteps, kValues}, pinned);
  const at::Tensor steps = at::arange(kSteps).unsqueeze(1), index = at::arange(kValues);
  const auto gradients_of = [&](int rank) { return ((steps * 31 + index * 7) % 1009 + rank).to(at::kFloat); };
  own.copy_(gradients_of(session.rank()));
  at::Tensor expected = at::zeros({kSteps, kValues});
  for (int rank = 0; rank < session.size(); ++rank) {
    expected += gradients_of(rank);
  }

  const at::Tensor gradient = at::empty({kValues}, at::TensorOptions(at::kFloat).device(device));
  for (int step = 0; step < kSteps; ++step) {
    const at::Tensor result = sum.of(0, 1, [&](const GradientSum::OnPart& on_part) {
      std::int64_t end = kValues;
      for (const std::int64_t begin : {3000, 1000, 0}) {
        const at::Tensor part = gradient.narrow(0, begin, end - begin);
        part.copy_(own[step].narrow(0, begin, end - begin), /*non_blocking=*/true);
        on_part(begin, part);
        end = begin;
      }
      return gradient;
    });
    found[step].copy_(result, /*non_blocking=*/true);
  }
  c10::cuda::device_synchronize();
  return at::equal(found, expected) ? 0 : kWrongBytes;
}
