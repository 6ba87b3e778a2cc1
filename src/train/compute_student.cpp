#include "maskedkd/train/compute_student.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>

#include <vector>

namespace maskedkd {

ComputeStudent::ComputeStudent(const VitOptions& options, const FlatParameters& parameters, at::ScalarType dtype)
    : parameters_(parameters), model_(options) {
  model_.cast_matrix_weights(dtype);
  const NamedTensors values = parameters.named_views(parameters.values());
  NamedTensors converted;
  if (dtype != at::kFloat) {
    converted_ = parameters.values().to(dtype);
    converted = parameters.named_views(converted_);
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    at::Tensor handle = model_.parameters()[i].second;  // the same tensor object as the model's
    handle.set_data(handle.scalar_type() == at::kFloat ? values[i].second : converted[i].second);
  }
  model_.set_requires_grad(true);
}

void ComputeStudent::read_weights() {
  const at::NoGradGuard no_grad;
  if (converted_.defined()) {
    converted_.copy_(parameters_.values());
  }
}

void ComputeStudent::drop_gradient() {
  for (const auto& [name, parameter] : model_.parameters()) {
    parameter.mutable_grad().reset();
  }
}

void ComputeStudent::move_gradient(const at::Tensor& gradient, bool adds, std::int64_t first, std::int64_t last) {
  const at::NoGradGuard no_grad;
  // Tensors of one dtype at a time, as a GPU handles such a list in a few launches.
  struct List {
    std::vector<at::Tensor> to, from;
  } plain, converted;
  const NamedTensors views = parameters_.named_views(gradient);
  for (std::size_t i = 0; i < views.size(); ++i) {
    const at::Tensor& parameter = model_.parameters()[i].second;
    const std::int64_t offset = views[i].second.storage_offset() - gradient.storage_offset();
    if (offset < first || offset >= last) {
      continue;
    }
    at::Tensor& found = parameter.mutable_grad();
    if (found.defined()) {
      List& list = found.scalar_type() == at::kFloat ? plain : converted;
      list.to.push_back(views[i].second);
      list.from.push_back(std::move(found));
      found = at::Tensor();
    } else if (!adds) {
      views[i].second.zero_();
    }
  }
  for (List* list : {&plain, &converted}) {
    if (list->to.empty()) {
      continue;
    }
    if (adds) {
      at::_foreach_add_(list->to, list->from);
    } else {
      at::_foreach_copy_(list->to, list->from);
    }
  }
}

}  // namespace maskedkd
