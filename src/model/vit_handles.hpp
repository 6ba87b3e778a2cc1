// The parameters of a Vit by role, so that a forward looks nothing up by name. The tensors are those of the named list.
#pragma once

#include "maskedkd/model/vit.hpp"

namespace maskedkd {

struct Affine {
  at::Tensor weight;
  at::Tensor bias;
};

struct Vit::Handles {
  struct Block {
    Affine norm1, qkv, projection, norm2, fc1, fc2;
    at::Tensor scale1, scale2;  // [D], undefined without LayerScale
  };
  at::Tensor class_token, distillation_token, position;
  Affine patch_embedding, norm, head, distillation_head;
  std::vector<Block> blocks;
};

}  // namespace maskedkd
