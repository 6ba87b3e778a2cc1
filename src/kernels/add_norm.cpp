#include "maskedkd/kernels/add_norm.hpp"

#include "add_norm_host.hpp"
#include "maskedkd/base/error.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>

#ifdef MASKEDKD_WITH_NVCC
#include "add_norm_device.hpp"

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace maskedkd {
namespace {

using kernel::AddNorm;
using kernel::AddNormBackward;
using kernel::kRowsOfChunk;

constexpr std::int64_t kChunksOfTask = 4;  // on a CPU

template <typename T>
const T* values_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<const T*>(tensor.const_data_ptr()) : nullptr;
}

template <typename T>
T* memory_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.mutable_data_ptr()) : nullptr;
}

void check(const at::Tensor& tensor, const at::Tensor& tokens, at::IntArrayRef shape, at::ScalarType dtype,
           const char* name) {
  if (tensor.defined() && (tensor.sizes() != shape || tensor.scalar_type() != dtype || !tensor.is_contiguous() ||
                           tensor.device() != tokens.device())) {
    throw Error(fmt::format("{} of a residual sum has a wrong shape, dtype, device or layout", name));
  }
}

void check(const AddNormInput& input, at::ScalarType dtype) {
  const at::Tensor& tokens = input.tokens;
  if (tokens.dim() != 3) {
    throw Error("tokens of a residual sum must be of 3 dimensions");
  }
  check(tokens, tokens, tokens.sizes(), at::kFloat, "tokens");
  check(input.branch, tokens, tokens.sizes(), dtype, "the branch");
  check(input.factors, tokens, {tokens.size(0)}, at::kFloat, "the factor");
  for (const at::Tensor* of_columns : {&input.scale, &input.weight, &input.bias}) {
    check(*of_columns, tokens, {tokens.size(2)}, at::kFloat, "a parameter");
  }
}

#ifdef MASKEDKD_WITH_NVCC
void launched(int error) { C10_CUDA_CHECK(static_cast<cudaError_t>(error)); }  // perhaps of earlier work

CUstream_st* stream_of(const at::Tensor& tensor) {
  return c10::cuda::getCurrentCUDAStream(tensor.device().index()).stream();
}
#endif

template <typename T>
void run(const AddNorm<T>& work, [[maybe_unused]] const at::Tensor& tokens) {
#ifdef MASKEDKD_WITH_NVCC
  if (tokens.is_cuda()) {
    return launched(kernel::add_norm_on_device(work, stream_of(tokens)));
  }
#endif
  at::parallel_for(0, work.rows, kChunksOfTask * kRowsOfChunk,
                   [&](std::int64_t first, std::int64_t last) { kernel::add_norm_on_host(work, first, last); });
}

template <typename T>
void run(const AddNormBackward<T>& work, std::int64_t chunks, [[maybe_unused]] const at::Tensor& tokens) {
#ifdef MASKEDKD_WITH_NVCC
  if (tokens.is_cuda()) {
    return launched(kernel::add_norm_backward_on_device(work, stream_of(tokens)));
  }
#endif
  at::parallel_for(0, chunks, kChunksOfTask, [&](std::int64_t first, std::int64_t last) {
    kernel::add_norm_backward_on_host(work, first, last);
  });
}

// [groups, chunks, D] -> [groups, D]
at::Tensor added_chunks(const at::Tensor& parts) {
  const std::int64_t groups = parts.size(0), chunks = parts.size(1), width = parts.size(2);
  const at::Tensor sums = at::empty({groups, width}, parts.options());
#ifdef MASKEDKD_WITH_NVCC
  if (parts.is_cuda()) {
    launched(kernel::add_chunks_on_device(parts.const_data_ptr<float>(), static_cast<int>(groups), chunks,
                                          static_cast<int>(width), sums.mutable_data_ptr<float>(), stream_of(parts)));
    return sums;
  }
#endif
  for (std::int64_t group = 0; group < groups; ++group) {
    kernel::add_chunks_on_host(parts.const_data_ptr<float>() + group * chunks * width, chunks, static_cast<int>(width),
                               sums.mutable_data_ptr<float>() + group * width);
  }
  return sums;
}

// sum: [B, T, D]
kernel::AddNormParameters parameters_of(const AddNormInput& input, const at::Tensor& sum) {
  return {values_of<float>(input.scale),
          values_of<float>(input.factors),
          values_of<float>(input.weight),
          sum.size(0) * sum.size(1),
          sum.size(1),
          static_cast<int>(sum.size(2))};
}

template <typename T>
void forward(const AddNormInput& input, const AddNormOutput& output, double epsilon) {
  const at::Tensor& tokens = input.tokens;
  AddNorm<T> work{};
  static_cast<kernel::AddNormParameters&>(work) = parameters_of(input, tokens);
  work.tokens = values_of<float>(tokens);
  work.branch = values_of<T>(input.branch);
  work.bias = values_of<float>(input.bias);
  work.sum = input.branch.defined() ? memory_of<float>(output.sum) : nullptr;
  work.normed = memory_of<T>(output.normed);
  work.mean = memory_of<float>(output.mean);
  work.inverse_deviation = memory_of<float>(output.inverse_deviation);
  work.epsilon = static_cast<float>(epsilon);
  run(work, tokens);
}

template <typename T>
void backward(const AddNormInput& input, const AddNormOutput& output, const AddNormOutputGradients& given,
              bool wants_parameters, AddNormGradients& gradients) {
  const at::Tensor& sum = output.sum;
  const std::int64_t rows = sum.size(0) * sum.size(1), width = sum.size(2);
  const std::int64_t chunks = (rows + kRowsOfChunk - 1) / kRowsOfChunk;
  const bool of_norm = wants_parameters && given.normed.defined();
  const bool of_scale = wants_parameters && input.scale.defined();
  const std::int64_t groups = (of_norm ? 2 : 0) + (of_scale ? 1 : 0);
  const at::Tensor parts = groups > 0 ? at::empty({groups, chunks, width}, sum.options()) : at::Tensor();
  AddNormBackward<T> work{};
  static_cast<kernel::AddNormParameters&>(work) = parameters_of(input, sum);
  work.sum = values_of<float>(sum);
  work.branch = of_scale ? values_of<T>(input.branch) : nullptr;
  work.mean = values_of<float>(output.mean);
  work.inverse_deviation = values_of<float>(output.inverse_deviation);
  work.sum_gradient = values_of<float>(given.sum);
  work.normed_gradient = values_of<T>(given.normed);
  work.tokens_gradient = given.normed.defined() ? memory_of<float>(gradients.tokens) : nullptr;
  work.branch_gradient = memory_of<T>(gradients.branch);
  float* const group = memory_of<float>(parts);
  if (of_scale) {
    work.scale_gradient = group;
  }
  if (of_norm) {
    work.weight_gradient = group + (groups - 2) * chunks * width;
    work.bias_gradient = work.weight_gradient + chunks * width;
  }
  run(work, chunks, sum);
  if (groups > 0) {
    const at::Tensor sums = added_chunks(parts);
    gradients.scale = of_scale ? sums.select(0, 0) : at::Tensor();
    gradients.weight = of_norm ? sums.select(0, groups - 2) : at::Tensor();
    gradients.bias = of_norm ? sums.select(0, groups - 1) : at::Tensor();
  }
}

}  // namespace

bool has_add_norm(at::Device device, at::ScalarType dtype) {
#ifdef MASKEDKD_WITH_NVCC
  const bool has_device = device.is_cpu() || device.is_cuda();
#else
  const bool has_device = device.is_cpu();
#endif
  return has_device && (dtype == at::kFloat || dtype == at::kBFloat16);
}

AddNormOutput add_norm(const AddNormInput& input, double epsilon, at::ScalarType dtype, bool for_gradient) {
  check(input, dtype);
  const c10::DeviceGuard guard(input.tokens.device());
  const at::TensorOptions floats = input.tokens.options().requires_grad(false);
  AddNormOutput output;
  output.sum = input.branch.defined() ? at::empty(input.tokens.sizes(), floats) : input.tokens;
  if (input.weight.defined()) {
    output.normed = at::empty(input.tokens.sizes(), floats.dtype(dtype));
    if (for_gradient) {
      output.mean = at::empty({input.tokens.size(0) * input.tokens.size(1)}, floats);
      output.inverse_deviation = at::empty_like(output.mean);
    }
  }
  if (input.tokens.numel() > 0 && (input.branch.defined() || input.weight.defined())) {
    dtype == at::kFloat ? forward<float>(input, output, epsilon) : forward<kernel::Bfloat16>(input, output, epsilon);
  }
  return output;
}

AddNormGradients add_norm_backward(const AddNormInput& input, const AddNormOutput& output,
                                   const AddNormOutputGradients& given, std::optional<at::ScalarType> branch_dtype,
                                   bool wants_parameters) {
  const at::Tensor& sum = output.sum;
  if (!given.sum.defined() && !given.normed.defined()) {
    throw Error("a residual sum without a gradient has none to give");
  }
  check(given.sum, sum, sum.sizes(), at::kFloat, "the gradient");
  check(given.normed, sum, sum.sizes(), branch_dtype.value_or(given.normed.scalar_type()), "the gradient");
  const c10::DeviceGuard guard(sum.device());
  AddNormGradients gradients;
  // Without a norm the tokens' gradient is the sum's.
  gradients.tokens = given.normed.defined() ? at::empty_like(sum) : given.sum;
  if (branch_dtype) {
    gradients.branch = at::empty(sum.sizes(), sum.options().dtype(*branch_dtype));
  }
  if (sum.numel() > 0 && (branch_dtype || given.normed.defined())) {
    branch_dtype.value_or(given.normed.scalar_type()) == at::kFloat
        ? backward<float>(input, output, given, wants_parameters, gradients)
        : backward<kernel::Bfloat16>(input, output, given, wants_parameters, gradients);
  }
  return gradients;
}

}  // namespace maskedkd
