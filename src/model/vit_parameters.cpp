// A Vit's parameters: names and shapes, initial values, device.
#include "layers.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/philox.hpp"
#include "maskedkd/model/vit.hpp"
#include "maskedkd/model/weights.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include <cmath>

namespace maskedkd {
namespace {

constexpr int kMlpRatio = 4;
constexpr double kInitialStd = 0.02;
constexpr double kTruncation = 2.0;  // absolute, as timm's trunc_normal_ has it

void draw_first_values(const std::string& name, const at::Tensor& host, const VitOptions& options,
                       PhiloxStream random) {
  float* values = host.mutable_data_ptr<float>();
  const auto fill = [&](const auto& draw) {
    for (std::int64_t i = 0; i < host.numel(); ++i) {
      values[i] = static_cast<float>(draw());
    }
  };
  if (name.rfind("patch_embed.", 0) == 0) {
    // The framework's default for a convolution: fan_in is 3 * patch * patch.
    const double bound = 1.0 / std::sqrt(3.0 * options.patch_size * options.patch_size);
    fill([&] { return random.uniform(-bound, bound); });
  } else if (name.find("gamma") != std::string::npos) {
    fill([&] { return options.layer_scale_init; });
  } else if (name.find("norm") != std::string::npos) {
    fill([&] { return name.ends_with(".weight") ? 1.0 : 0.0; });
  } else if (name.ends_with(".bias")) {
    fill([&] { return 0.0; });
  } else {
    fill([&] {
      double value;
      do {
        value = kInitialStd * random.normal();
      } while (std::abs(value) > kTruncation);
      return value;
    });
  }
}

}  // namespace

void VitOptions::validate() const {
  const auto require = [](bool good, const std::string& message) {
    if (!good) {
      throw usage_error(message);
    }
  };
  require(input_size >= 1 && patch_size >= 1 && input_size % patch_size == 0,
          fmt::format("an input of {} pixels can't be cut into patches of {}", input_size, patch_size));
  require(width >= 1 && num_heads >= 1 && width % num_heads == 0,
          fmt::format("a width of {} can't be shared by {} heads", width, num_heads));
  require(depth >= 1 && depth <= 1000, fmt::format("a depth of {} blocks is outside 1..1000", depth));
  require(num_classes >= 1, fmt::format("{} classes: at least 1 is needed", num_classes));
  require(input_size <= 4096 && width <= 16384 && num_classes <= 10'000'000,
          fmt::format("a model of {} pixels, width {} and {} classes is too large", input_size, width, num_classes));
  require(num_class_blocks >= 0 && num_class_blocks <= 1000,
          fmt::format("{} class blocks are outside 0..1000", num_class_blocks));
  require(!is_cait() || (layer_scale && !position_on_class_token && !distilled && !average_pool),
          "only a CaiT has class blocks: with LayerScale, positions on patches only, and a class token that is read");
  require(!average_pool || !distilled, "a distilled model's heads read its tokens, not the mean of its patches");
}

std::vector<std::pair<std::string, std::vector<std::int64_t>>> parameter_shapes(const VitOptions& options) {
  const std::int64_t d = options.width, c = options.num_classes;
  const std::int64_t positions =
      options.num_patches() + (options.position_on_class_token ? options.num_front_tokens() : 0);
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> shapes;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    shapes.emplace_back(name, std::move(shape));
  };
  const auto linear = [&](const std::string& name, std::int64_t in, std::int64_t out) {
    add(name + ".weight", {out, in});
    add(name + ".bias", {out});
  };
  const auto norm = [&](const std::string& name) {
    add(name + ".weight", {d});
    add(name + ".bias", {d});
  };
  add("cls_token", {1, 1, d});
  add("pos_embed", {1, positions, d});
  if (options.distilled) {
    add("dist_token", {1, 1, d});
  }
  add("patch_embed.proj.weight", {d, 3, options.patch_size, options.patch_size});
  add("patch_embed.proj.bias", {d});
  const auto mlp = [&](const std::string& block) {
    linear(block + "mlp.fc1", d, kMlpRatio * d);
    linear(block + "mlp.fc2", kMlpRatio * d, d);
  };
  const auto cait_block = [&](const std::string& block, const auto& attention) {
    add(block + "gamma_1", {d});
    add(block + "gamma_2", {d});
    norm(block + "norm1");
    attention(block + "attn.");
    norm(block + "norm2");
    mlp(block);
  };
  for (int i = 0; i < options.depth; ++i) {
    const std::string block = fmt::format("blocks.{}.", i);
    if (options.is_cait()) {
      cait_block(block, [&](const std::string& attention) {
        linear(attention + "qkv", d, 3 * d);
        linear(attention + "proj", d, d);
        linear(attention + "proj_l", options.num_heads, options.num_heads);
        linear(attention + "proj_w", options.num_heads, options.num_heads);
      });
      continue;
    }
    norm(block + "norm1");
    linear(block + "attn.qkv", d, 3 * d);
    linear(block + "attn.proj", d, d);
    if (options.layer_scale) {
      add(block + "ls1.gamma", {d});
    }
    norm(block + "norm2");
    mlp(block);
    if (options.layer_scale) {
      add(block + "ls2.gamma", {d});
    }
  }
  for (int i = 0; i < options.num_class_blocks; ++i) {
    cait_block(fmt::format("blocks_token_only.{}.", i), [&](const std::string& attention) {
      for (const char* part : {"q", "k", "v", "proj"}) {
        linear(attention + part, d, d);
      }
    });
  }
  norm(options.average_pool ? "fc_norm" : "norm");
  linear("head", d, c);
  if (options.distilled) {
    linear("head_dist", d, c);
  }
  return shapes;
}

std::int64_t count_parameters(const VitOptions& options) {
  std::int64_t total = 0;
  for (const auto& [name, shape] : parameter_shapes(options)) {
    std::int64_t count = 1;
    for (const std::int64_t side : shape) {
      count *= side;
    }
    total += count;
  }
  return total;
}

Vit::Vit(const VitOptions& options) : options_(options), by_role_(std::make_unique<VitParameters>()) {
  options_.validate();
  std::map<std::string, at::Tensor> by_name;
  for (const auto& [name, shape] : parameter_shapes(options_)) {
    parameters_.emplace_back(name, at::empty(shape, at::kFloat));
    by_name[name] = parameters_.back().second;
  }
  const auto affine = [&](const std::string& name) {
    return Affine{by_name.at(name + ".weight"), by_name.at(name + ".bias")};
  };
  const auto rest_of_block = [&](const std::string& name, BlockParameters block) {
    block.norm1 = affine(name + "norm1");
    block.projection = affine(name + "attn.proj");
    block.norm2 = affine(name + "norm2");
    block.fc1 = affine(name + "mlp.fc1");
    block.fc2 = affine(name + "mlp.fc2");
    if (options_.layer_scale) {
      block.scale1 = by_name.at(name + (options_.is_cait() ? "gamma_1" : "ls1.gamma"));
      block.scale2 = by_name.at(name + (options_.is_cait() ? "gamma_2" : "ls2.gamma"));
    }
    return block;
  };
  by_role_->class_token = by_name.at("cls_token");
  by_role_->position = by_name.at("pos_embed");
  by_role_->patch_embedding = affine("patch_embed.proj");
  by_role_->norm = affine(options_.average_pool ? "fc_norm" : "norm");
  by_role_->head = affine("head");
  if (options_.distilled) {
    by_role_->distillation_token = by_name.at("dist_token");
    by_role_->distillation_head = affine("head_dist");
  }
  for (int i = 0; i < options_.depth; ++i) {
    const std::string name = fmt::format("blocks.{}.", i);
    BlockParameters block;
    block.qkv = affine(name + "attn.qkv");
    if (options_.is_cait()) {
      block.talk_before = affine(name + "attn.proj_l");
      block.talk_after = affine(name + "attn.proj_w");
    }
    by_role_->blocks.push_back(rest_of_block(name, std::move(block)));
  }
  for (int i = 0; i < options_.num_class_blocks; ++i) {
    const std::string name = fmt::format("blocks_token_only.{}.", i);
    BlockParameters block;
    block.query = affine(name + "attn.q");
    block.key = affine(name + "attn.k");
    block.value = affine(name + "attn.v");
    by_role_->class_blocks.push_back(rest_of_block(name, std::move(block)));
  }
}

void Vit::initialise(std::uint64_t seed) {
  const at::NoGradGuard no_grad;
  std::uint32_t index = 0;
  for (const auto& [name, parameter] : parameters_) {
    const at::Tensor host = at::empty(parameter.sizes(), at::kFloat);
    draw_first_values(name, host, options_,
                      PhiloxStream({.seed = seed, .purpose = RandomPurpose::initialisation, .step = index++}));
    parameter.copy_(host);
  }
}

Vit::Vit(Vit&&) noexcept = default;
Vit::~Vit() = default;

void Vit::set_requires_grad(bool on) {
  for (auto& [name, parameter] : parameters_) {
    parameter.set_requires_grad(on);
  }
}

void Vit::to_device(at::Device device) {
  const at::NoGradGuard no_grad;
  for (auto& [name, parameter] : parameters_) {
    parameter.set_data(parameter.to(device));
  }
}

void Vit::cast_matrix_weights(at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  for (auto& [name, parameter] : parameters_) {
    const bool read_by_matrix_products =
        name.find("norm") == std::string::npos && (name.ends_with(".weight") || name.ends_with(".bias"));
    if (read_by_matrix_products) {
      parameter.set_data(parameter.to(dtype));
    }
  }
}

std::vector<std::string> Vit::load(std::map<std::string, at::Tensor> tensors, const std::string& source,
                                   const LoadOptions& how) {
  TensorInfos given;
  for (const auto& [name, tensor] : tensors) {
    given.emplace(name, TensorInfo{tensor.scalar_type(), tensor.sizes().vec()});
  }
  const WeightsMatch match = match_weights(options_, given, how);
  if (!match.fits()) {
    throw usage_error(fmt::format("{} does not fit the model, which has {} tensors: {}", source, parameters_.size(),
                                  match.problems()),
                      mismatch_hint(options_, given));
  }
  const at::NoGradGuard no_grad;
  std::vector<std::string> notes = match.about_names;
  notes.insert(notes.end(), match.changes.begin(), match.changes.end());
  for (const auto& [name, parameter] : parameters_) {
    const auto found = match.source_of.find(name);
    if (found == match.source_of.end()) {
      continue;  // keeps its initial values
    }
    const auto node = tensors.extract(found->second);
    const at::Tensor& value = node.mapped();
    if (value.sizes() == parameter.sizes()) {
      parameter.copy_(value);
    } else {
      const std::int64_t front = options_.position_on_class_token ? options_.num_front_tokens() : 0;
      parameter.copy_(resample_positions(value, front, options_.grid_size()));
    }
    // A finite sum means that there is no NaN and no infinity, and needs no second tensor.
    if (!std::isfinite(parameter.sum().item<double>()) && !parameter.isfinite().all().item<bool>()) {
      notes.push_back(fmt::format("{} holds NaN or infinity", name));
    }
  }
  for (std::string& line : notes) {
    line.insert(0, source + ": ");
  }
  return notes;
}

}  // namespace maskedkd
