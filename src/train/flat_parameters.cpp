#include "maskedkd/train/flat_parameters.hpp"

#include "maskedkd/base/error.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>

namespace maskedkd {

bool has_weight_decay(const std::string& name, const at::Tensor& parameter) {
  return parameter.dim() > 1 && name != "pos_embed" && name != "cls_token" && name != "dist_token";
}

FlatParameters::FlatParameters(Vit& model) {
  const at::NoGradGuard no_grad;
  const NamedTensors& parameters = model.parameters();
  values_ = at::empty({model.num_parameters()}, parameters.front().second.options().requires_grad(false));
  std::int64_t next_decayed = 0;
  for (const auto& [name, parameter] : parameters) {
    num_decayed_ += has_weight_decay(name, parameter) ? parameter.numel() : 0;
  }
  std::int64_t next_other = num_decayed_;
  for (const auto& [name, parameter] : parameters) {
    std::int64_t& next = has_weight_decay(name, parameter) ? next_decayed : next_other;
    const at::Tensor view = values_.narrow(0, next, parameter.numel()).view(parameter.sizes());
    view.copy_(parameter);
    at::Tensor handle = parameter;  // the same tensor object as the model's
    handle.set_data(view);
    slices_.push_back({name, handle, next});
    next += parameter.numel();
  }
}

std::int64_t FlatParameters::begin_of_block(int block) const {
  const std::string prefix = fmt::format("blocks.{}.", block);
  const auto found = std::find_if(slices_.begin(), slices_.end(), [&](const Slice& slice) {
    return slice.name.starts_with(prefix) && slice.offset < num_decayed_;
  });
  return found == slices_.end() ? num_decayed_ : found->offset;
}

NamedTensors FlatParameters::named_views(const at::Tensor& flat, const std::string& prefix) const {
  NamedTensors views;
  for (const auto& slice : slices_) {
    views.emplace_back(prefix + slice.name,
                       flat.narrow(0, slice.offset, slice.parameter.numel()).view(slice.parameter.sizes()));
  }
  return views;
}

void FlatParameters::copy_named(const std::map<std::string, at::Tensor>& tensors, const std::string& prefix,
                                const at::Tensor& flat) const {
  const at::NoGradGuard no_grad;
  for (const auto& [name, view] : named_views(flat, prefix)) {
    const auto found = tensors.find(name);
    if (found == tensors.end() || found->second.sizes() != view.sizes()) {
      throw usage_error(fmt::format("the checkpoint has no tensor '{}' of the right shape", name),
                        "it belongs to another model; start in another --output-dir");
    }
    view.copy_(found->second);
  }
}

}  // namespace maskedkd
