// One Vision Transformer (Dosovitskiy et al. 2021) as DeiT, DeiT3 and CaiT (Touvron et al. 2021, 2022, 2021) and MAE's
// fine-tuning (He et al. 2022) build it, described by plain options. Student and teacher are both this class: the
// student's forward also gives the attention of its last block to the patches, the teacher's takes the patches that are
// kept. Parameters are plain fp32 tensors under timm's names; there is no tree of modules. vit.cpp computes a ViT,
// cait.cpp a CaiT; weights.hpp finds the values in other programs' files.
//
// B images, S input size, N patches, K kept patches, T tokens in front (1 class token, 2 when distilled), H heads, D
// width, C classes, L depth.
#pragma once

#include "maskedkd/io/safetensors.hpp"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace maskedkd {

struct VitOptions {
  int input_size = 224;  // pixels, square
  int patch_size = 16;   // pixels, square; divides input_size
  int width = 192;
  int depth = 12;
  int num_heads = 3;  // divides width
  int num_classes = 1000;
  bool distilled = false;               // a distillation token and a second head
  bool layer_scale = false;             // DeiT3: ls1.gamma, ls2.gamma
  bool position_on_class_token = true;  // false (DeiT3): pos_embed covers patches only
  bool uniform_drop_path = false;       // false (DeiT): the rate rises linearly from 0 over the blocks
  bool average_pool = false;  // MAE: the head reads the mean of the patches through fc_norm, not the class token
  // CaiT (2): blocks of class attention, after the patches' blocks with talking heads (Shazeer et al. 2020); 0: a ViT
  int num_class_blocks = 0;
  double layer_scale_init = 1e-4;

  int grid_size() const { return input_size / patch_size; }
  int num_patches() const { return grid_size() * grid_size(); }
  void validate() const;  // throws Error (usage)
  int num_front_tokens() const { return distilled ? 2 : 1; }
  bool is_cait() const { return num_class_blocks > 0; }
  bool operator==(const VitOptions&) const = default;
};

struct VitForward {
  // Of matrix products; residuals, norms, softmax and logits stay fp32 as under autocast.
  at::ScalarType compute_dtype = at::kFloat;
  at::Tensor kept_patches;  // [B, K] int64, distinct in a row; undefined: all patches
  // [L, 2, B] float32: of both branches of each block, floor(keep + U) / keep with keep = 1 - drop_path_rate_of() and U
  // uniform on [0, 1) (Huang et al. 2016). Undefined: no drop path (evaluation). CaiT's class blocks drop nothing.
  at::Tensor drop_path_factors;
  bool want_class_attention = false;
  bool reference_kernels = false;  // LibTorch's operators where there are kernels of this program, as their definition
  std::vector<int> cut_before;     // blocks, from 1, before which VitOutput::cuts divides the backward pass
};

struct VitOutput {
  at::Tensor logits;               // [B, C] float32, from the class token or the mean of the patches
  at::Tensor distillation_logits;  // [B, C] float32, undefined unless distilled
  // [B, N or K] float32 detached, on request: the last block's softmaxed attention of the token that the head reads,
  // mean over heads, without the tokens in front. With average_pool: the mean over the patches, whose mean the head
  // reads.
  at::Tensor class_attention;
  // For each block of `cut_before`, in the order of the blocks. The backward pass of the logits ends at `leaf`, which
  // has the values of `tokens`; tokens.backward(leaf.grad()) goes on from there. So the gradients of the late blocks
  // are complete first, and can be used while those of the early blocks are computed.
  struct Cut {
    at::Tensor tokens, leaf;  // [B, T + N, D]; of a CaiT [B, N, D]
  };
  std::vector<Cut> cuts;
  // [B, C]: `logits`; of a distilled model the mean of both heads, as DeiT evaluates.
  at::Tensor combined_logits() const;
};

struct LoadOptions {
  // For a student's start: the heads keep their values, whatever the file has for them; so does an fc_norm that the
  // file lacks. MAE's decoder, and its norm where the model has an fc_norm, are ignored.
  bool reinit_head = false;
};

// The rate of drop path in a block, where `rate` is that of the last one. block: from 0.
double drop_path_rate_of(int block, const VitOptions& options, double rate);

// Name and shape of every parameter, in timm's order; nothing is allocated.
std::vector<std::pair<std::string, std::vector<std::int64_t>>> parameter_shapes(const VitOptions& options);
// The number of parameters of a model that need not exist.
std::int64_t count_parameters(const VitOptions& options);

struct VitParameters;  // the parameters again, by role, as the forward uses them

class Vit {
 public:
  // Values are undefined until initialise() or load().
  explicit Vit(const VitOptions& options);
  Vit(Vit&&) noexcept;
  ~Vit();

  const VitOptions& options() const noexcept { return options_; }
  // In timm's order of state_dict; the tensors share their storage with the model.
  const NamedTensors& parameters() const noexcept { return parameters_; }
  std::int64_t num_parameters() const { return count_parameters(options_); }

  // Official initialisation from `seed`: linear weights, pos_embed, tokens from a normal of std 0.02 truncated at +-2;
  // biases 0; norms 1 and 0; the patch embedding U(+-1/sqrt(fan_in)). Depends on (options, seed) only, not on the
  // device of the parameters.
  void initialise(std::uint64_t seed);
  void set_requires_grad(bool on);
  void to_device(at::Device device);
  // Casts the weights of matrix products (not norms, tokens, positions, LayerScale), once for a frozen teacher.
  void cast_matrix_weights(at::ScalarType dtype);
  // Copies every parameter from the tensor that match_weights (weights.hpp) finds for it, position embeddings of
  // another grid interpolated, and frees each tensor when it is copied. `source` names the file in messages. Returns
  // notes for the user, one line each: positions interpolated, a head that was not loaded, NaN in a tensor. Throws
  // Error (usage) naming each missing, unexpected or wrongly shaped tensor; then nothing is copied.
  std::vector<std::string> load(std::map<std::string, at::Tensor> tensors, const std::string& source,
                                const LoadOptions& how = {});

  // images [B, 3, S, S] float32. Throws Error on another shape.
  VitOutput forward(const at::Tensor& images, const VitForward& how) const;

 private:
  VitOptions options_;
  NamedTensors parameters_;
  std::unique_ptr<VitParameters> by_role_;
};

}  // namespace maskedkd
