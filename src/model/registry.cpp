#include "maskedkd/model/registry.hpp"

#include "maskedkd/base/error.hpp"

#include <array>
#include <string_view>

namespace maskedkd {
namespace {

enum class Family { deit, deit_distilled, deit3 };

struct Published {
  std::string_view name;
  std::string_view alias;  // the official repositories' short name, where there is one
  Family family;
  int input_size, patch_size, width, depth, num_heads;
};

constexpr std::array<Published, 16> kPublished = {{
    {"deit_tiny_patch16_224", "", Family::deit, 224, 16, 192, 12, 3},
    {"deit_small_patch16_224", "", Family::deit, 224, 16, 384, 12, 6},
    {"deit_base_patch16_224", "", Family::deit, 224, 16, 768, 12, 12},
    {"deit_base_patch16_384", "", Family::deit, 384, 16, 768, 12, 12},
    {"deit_tiny_distilled_patch16_224", "", Family::deit_distilled, 224, 16, 192, 12, 3},
    {"deit_small_distilled_patch16_224", "", Family::deit_distilled, 224, 16, 384, 12, 6},
    {"deit_base_distilled_patch16_224", "", Family::deit_distilled, 224, 16, 768, 12, 12},
    {"deit_base_distilled_patch16_384", "", Family::deit_distilled, 384, 16, 768, 12, 12},
    {"deit3_small_patch16_224", "deit3_small", Family::deit3, 224, 16, 384, 12, 6},
    {"deit3_medium_patch16_224", "deit3_medium", Family::deit3, 224, 16, 512, 12, 8},
    {"deit3_base_patch16_224", "deit3_base", Family::deit3, 224, 16, 768, 12, 12},
    {"deit3_large_patch16_224", "deit3_large", Family::deit3, 224, 16, 1024, 24, 16},
    {"deit3_huge_patch14_224", "deit3_huge", Family::deit3, 224, 14, 1280, 32, 16},
    {"deit3_small_patch16_384", "", Family::deit3, 384, 16, 384, 12, 6},
    {"deit3_base_patch16_384", "", Family::deit3, 384, 16, 768, 12, 12},
    {"deit3_large_patch16_384", "", Family::deit3, 384, 16, 1024, 24, 16},
}};

}  // namespace

VitOptions find_model(const std::string& name) {
  for (const Published& model : kPublished) {
    if (name != model.name && (name.empty() || name != model.alias)) {
      continue;
    }
    VitOptions options;
    options.input_size = model.input_size;
    options.patch_size = model.patch_size;
    options.width = model.width;
    options.depth = model.depth;
    options.num_heads = model.num_heads;
    options.distilled = model.family == Family::deit_distilled;
    options.layer_scale = model.family == Family::deit3;
    options.position_on_class_token = model.family != Family::deit3;
    options.uniform_drop_path = model.family == Family::deit3;
    return options;
  }
  const std::vector<std::string> known = known_models();
  throw usage_error(fmt::format("unknown model '{}'", name), fmt::format("known are: {}", fmt::join(known, ", ")));
}

std::vector<std::string> known_models() {
  std::vector<std::string> names;
  for (const Published& model : kPublished) {
    names.emplace_back(model.name);
    if (!model.alias.empty()) {
      names.emplace_back(model.alias);
    }
  }
  return names;
}

}  // namespace maskedkd
