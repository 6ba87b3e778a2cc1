// The student as the forward and backward passes of a step see it: the weights of matrix products in the dtype of the
// products, converted once a step in one pass instead of in every micro-batch, and the way back for their gradients.
// Used by the distillation step. P: number of parameters.
#pragma once

#include "maskedkd/model/vit.hpp"
#include "maskedkd/train/flat_parameters.hpp"

namespace maskedkd {

class ComputeStudent {
 public:
  // parameters: of a student with `options`, on their device; outlives this. dtype: of the matrix products.
  ComputeStudent(const VitOptions& options, const FlatParameters& parameters, at::ScalarType dtype);

  // Converts the current values of the parameters. Call it before the first forward pass and after each change of them.
  void read_weights();
  // Its parameters collect gradients; those that are not converted share the memory of the parameters.
  const Vit& model() const noexcept { return model_; }
  // Drops what backward() has added since the last call of move_gradient().
  void drop_gradient();
  // Moves what backward() has added since the last call into `gradient` [P] float32: overwrites it, or adds to it. Of
  // the parameters that lie in [first, last) of the flat layout; the gradients of the others stay where they are.
  void move_gradient(const at::Tensor& gradient, bool adds, std::int64_t first, std::int64_t last);

 private:
  const FlatParameters& parameters_;
  Vit model_;
  at::Tensor converted_;  // [P] of the dtype, undefined for float32
};

}  // namespace maskedkd
