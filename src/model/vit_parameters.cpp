// A Vit's parameters: their names and shapes, how they begin, and how they are replaced by others.
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/philox.hpp"
#include "maskedkd/model/vit.hpp"
#include "vit_handles.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <cmath>
#include <functional>

namespace maskedkd {
namespace {

constexpr int kMlpRatio = 4;
constexpr double kInitialStd = 0.02;
constexpr double kTruncation = 2.0;  // absolute, as timm's trunc_normal_ has it

bool ends_with(const std::string& name, const std::string& end) {
  return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
}

void initialise(const std::string& name, const at::Tensor& parameter, const VitOptions& options, PhiloxStream random) {
  float* values = parameter.mutable_data_ptr<float>();
  const auto fill = [&](const auto& draw) {
    for (std::int64_t i = 0; i < parameter.numel(); ++i) {
      values[i] = static_cast<float>(draw());
    }
  };
  if (name.rfind("patch_embed.", 0) == 0) {
    // The framework's default for a convolution: fan_in is 3 * patch * patch.
    const double bound = 1.0 / std::sqrt(3.0 * options.patch_size * options.patch_size);
    fill([&] { return random.uniform(-bound, bound); });
  } else if (ends_with(name, ".gamma")) {
    fill([&] { return options.layer_scale_init; });
  } else if (name.find("norm") != std::string::npos) {
    fill([&] { return ends_with(name, ".weight") ? 1.0 : 0.0; });
  } else if (ends_with(name, ".bias")) {
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

// Meta's files name LayerScale blocks.i.gamma_1, timm's blocks.i.ls1.gamma.
std::string timm_name(const std::string& name) {
  for (const char digit : {'1', '2'}) {
    const std::string meta = std::string(".gamma_") + digit;
    if (ends_with(name, meta)) {
      return name.substr(0, name.size() - meta.size()) + ".ls" + digit + ".gamma";
    }
  }
  return name;
}

std::string shape_text(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
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
  for (int i = 0; i < options.depth; ++i) {
    const std::string block = fmt::format("blocks.{}.", i);
    norm(block + "norm1");
    linear(block + "attn.qkv", d, 3 * d);
    linear(block + "attn.proj", d, d);
    if (options.layer_scale) {
      add(block + "ls1.gamma", {d});
    }
    norm(block + "norm2");
    linear(block + "mlp.fc1", d, kMlpRatio * d);
    linear(block + "mlp.fc2", kMlpRatio * d, d);
    if (options.layer_scale) {
      add(block + "ls2.gamma", {d});
    }
  }
  norm("norm");
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

Vit::Vit(const VitOptions& options) : options_(options), handles_(std::make_unique<Handles>()) {
  options_.validate();
  std::map<std::string, at::Tensor> by_name;
  for (const auto& [name, shape] : parameter_shapes(options_)) {
    parameters_.emplace_back(name, at::empty(shape, at::kFloat));
    by_name[name] = parameters_.back().second;
  }
  const auto affine = [&](const std::string& name) {
    return Affine{by_name.at(name + ".weight"), by_name.at(name + ".bias")};
  };
  handles_->class_token = by_name.at("cls_token");
  handles_->position = by_name.at("pos_embed");
  handles_->patch_embedding = affine("patch_embed.proj");
  handles_->norm = affine("norm");
  handles_->head = affine("head");
  if (options_.distilled) {
    handles_->distillation_token = by_name.at("dist_token");
    handles_->distillation_head = affine("head_dist");
  }
  for (int i = 0; i < options_.depth; ++i) {
    const std::string block = fmt::format("blocks.{}.", i);
    Handles::Block handles{affine(block + "norm1"),
                           affine(block + "attn.qkv"),
                           affine(block + "attn.proj"),
                           affine(block + "norm2"),
                           affine(block + "mlp.fc1"),
                           affine(block + "mlp.fc2"),
                           at::Tensor(),
                           at::Tensor()};
    if (options_.layer_scale) {
      handles.scale1 = by_name.at(block + "ls1.gamma");
      handles.scale2 = by_name.at(block + "ls2.gamma");
    }
    handles_->blocks.push_back(std::move(handles));
  }
}

Vit::Vit(const VitOptions& options, std::uint64_t seed) : Vit(options) {
  std::uint32_t index = 0;
  for (const auto& [name, parameter] : parameters_) {
    RandomAddress address;
    address.seed = seed;
    address.purpose = RandomPurpose::initialisation;
    address.step = index++;
    initialise(name, parameter, options_, PhiloxStream(address));
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
        name.find("norm") == std::string::npos && (ends_with(name, ".weight") || ends_with(name, ".bias"));
    if (read_by_matrix_products) {
      parameter.set_data(parameter.to(dtype));
    }
  }
}

void Vit::load(const std::map<std::string, at::Tensor>& tensors, const std::string& source) {
  constexpr std::size_t kShown = 8;
  std::map<std::string, at::Tensor> given;
  std::vector<std::string> problems;
  for (const auto& [name, tensor] : tensors) {
    if (!given.emplace(timm_name(name), tensor).second) {
      problems.push_back(timm_name(name) + " under two names");
    }
  }
  std::vector<std::pair<at::Tensor, at::Tensor>> copies;  // to, from
  for (const auto& [name, parameter] : parameters_) {
    const auto found = given.find(name);
    if (found == given.end()) {
      problems.push_back("missing " + name);
    } else if (found->second.sizes() != parameter.sizes()) {
      problems.push_back(name == "head.weight" && found->second.dim() == 2
                             ? fmt::format("it has {} classes, the model {}", found->second.size(0), parameter.size(0))
                             : fmt::format("{} is {} instead of {}", name, shape_text(found->second.sizes()),
                                           shape_text(parameter.sizes())));
    } else if (!at::isFloatingType(found->second.scalar_type())) {
      problems.push_back(name + " does not hold floating-point numbers");
    } else {
      copies.emplace_back(parameter, found->second);
    }
    if (found != given.end()) {
      given.erase(found);
    }
  }
  for (const auto& [name, tensor] : given) {
    problems.push_back("unexpected " + name);
  }
  if (!problems.empty()) {
    const std::size_t shown = std::min(kShown, problems.size());
    throw usage_error(
        fmt::format("{} does not fit the model: {}{}", source,
                    fmt::join(problems.begin(), problems.begin() + static_cast<std::ptrdiff_t>(shown), "; "),
                    shown < problems.size() ? fmt::format("; and {} more", problems.size() - shown) : ""),
        "is it another model's file?");
  }
  const at::NoGradGuard no_grad;
  for (const auto& [to, from] : copies) {
    to.copy_(from);
  }
}

}  // namespace maskedkd
