// A model's parameters as one tensor: those with weight decay first, in the order of the blocks. The model's own
// tensors become views of it, so the optimizer, the average, the reduction and a checkpoint each handle one tensor. P:
// number of parameters.
#pragma once

#include "maskedkd/model/vit.hpp"

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace maskedkd {

// DeiT's rule: no decay for biases, other 1-D tensors, pos_embed, cls_token, dist_token.
bool has_weight_decay(const std::string& name, const at::Tensor& parameter);

class FlatParameters {
 public:
  // Moves the model's parameters into one tensor on their device; the model stays usable and outlives this.
  explicit FlatParameters(Vit& model);

  const at::Tensor& values() const noexcept { return values_; }  // [P] float32
  std::int64_t size() const noexcept { return values_.numel(); }
  std::int64_t num_decayed() const noexcept { return num_decayed_; }  // values()[: num_decayed()] have weight decay

  // Where the parameters with weight decay of that block begin; those of later blocks and of the heads follow.
  std::int64_t begin_of_block(int block) const;

  // Divides a tensor [P] in this layout into views of the parameters' shapes, by name.
  NamedTensors named_views(const at::Tensor& flat, const std::string& prefix = "") const;
  // The inverse: copies by name into `flat` [P]. Throws Error (usage) that names what is missing or has another shape.
  void copy_named(const std::map<std::string, at::Tensor>& tensors, const std::string& prefix,
                  const at::Tensor& flat) const;

 private:
  struct Slice {
    std::string name;
    at::Tensor parameter;  // the model's
    std::int64_t offset;
  };
  std::vector<Slice> slices_;  // in the model's order
  at::Tensor values_;
  std::int64_t num_decayed_ = 0;
};

}  // namespace maskedkd
