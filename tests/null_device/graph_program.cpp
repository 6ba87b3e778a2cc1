// LibTorch's CUDA graphs on the null device: a forward and a backward pass, captured and replayed with its private pool
// of memory; then a capture with a wait in it, which must be refused. Prints what happened.
#include <ATen/Functions.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdio>
#include <exception>
#include <string>

int main() {
  const auto options = at::TensorOptions().device(at::kCUDA).dtype(at::kBFloat16);
  const at::Tensor x = at::zeros({64, 192}, options), bias = at::zeros({192}, options).requires_grad_();
  at::Tensor weight = at::zeros({192, 192}, options).requires_grad_();
  const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
  const auto pass = [&] {
    const at::Tensor loss = at::gelu(at::linear(x, weight, bias)).sum();
    loss.backward();
    return loss;
  };
  pass();  // creates what may not be created in a capture
  for (const bool waits : {false, true}) {
    try {
      at::cuda::CUDAGraph graph;
      graph.capture_begin();
      const at::Tensor loss = pass();
      if (waits) {
        std::printf("%f\n", loss.item<double>());
      }
      graph.capture_end();
      for (int i = 0; i < 3; ++i) {
        graph.replay();
      }
      std::printf("captured and replayed\n");
    } catch (const std::exception& error) {
      const std::string text = error.what();
      std::printf("refused: %s\n", text.substr(0, text.find('\n')).c_str());
    }
  }
}
