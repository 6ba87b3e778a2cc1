#include "maskedkd/model/registry.hpp"

#include "maskedkd/base/error.hpp"

#include <array>
#include <string_view>

namespace maskedkd {
namespace {

enum class Family { vit, distilled, deit3, cait, mae };

struct Published {
  std::string_view name;
  std::string_view alias;  // the official repositories' short name, where there is one
  Family family;
  int input_size, patch_size, width, depth, num_heads;
  double layer_scale_init = 1e-4;
};

constexpr std::array<Published, 27> kPublished = {{
    {"deit_tiny_patch16_224", "", Family::vit, 224, 16, 192, 12, 3},
    {"deit_small_patch16_224", "", Family::vit, 224, 16, 384, 12, 6},
    {"deit_base_patch16_224", "", Family::vit, 224, 16, 768, 12, 12},
    {"deit_base_patch16_384", "", Family::vit, 384, 16, 768, 12, 12},
    {"deit_tiny_distilled_patch16_224", "", Family::distilled, 224, 16, 192, 12, 3},
    {"deit_small_distilled_patch16_224", "", Family::distilled, 224, 16, 384, 12, 6},
    {"deit_base_distilled_patch16_224", "", Family::distilled, 224, 16, 768, 12, 12},
    {"deit_base_distilled_patch16_384", "", Family::distilled, 384, 16, 768, 12, 12},
    {"deit3_small_patch16_224", "deit3_small", Family::deit3, 224, 16, 384, 12, 6},
    {"deit3_medium_patch16_224", "deit3_medium", Family::deit3, 224, 16, 512, 12, 8},
    {"deit3_base_patch16_224", "deit3_base", Family::deit3, 224, 16, 768, 12, 12},
    {"deit3_large_patch16_224", "deit3_large", Family::deit3, 224, 16, 1024, 24, 16},
    {"deit3_huge_patch14_224", "deit3_huge", Family::deit3, 224, 14, 1280, 32, 16},
    {"deit3_small_patch16_384", "", Family::deit3, 384, 16, 384, 12, 6},
    {"deit3_base_patch16_384", "", Family::deit3, 384, 16, 768, 12, 12},
    {"deit3_large_patch16_384", "", Family::deit3, 384, 16, 1024, 24, 16},
    {"cait_xxs24_224", "", Family::cait, 224, 16, 192, 24, 4, 1e-5},
    {"cait_xxs36_224", "", Family::cait, 224, 16, 192, 36, 4, 1e-5},
    {"cait_s24_224", "", Family::cait, 224, 16, 384, 24, 8, 1e-5},
    {"cait_s36_384", "", Family::cait, 384, 16, 384, 36, 8, 1e-6},
    {"mae_vit_base_patch16", "mae_vit_base", Family::mae, 224, 16, 768, 12, 12},
    {"mae_vit_large_patch16", "mae_vit_large", Family::mae, 224, 16, 1024, 24, 16},
    {"mae_vit_huge_patch14", "mae_vit_huge", Family::mae, 224, 14, 1280, 32, 16},
    {"vit_tiny_patch16_224", "", Family::vit, 224, 16, 192, 12, 3},
    {"vit_small_patch16_224", "", Family::vit, 224, 16, 384, 12, 6},
    {"vit_base_patch16_224", "", Family::vit, 224, 16, 768, 12, 12},
    {"vit_large_patch16_224", "", Family::vit, 224, 16, 1024, 24, 16},
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
    options.distilled = model.family == Family::distilled;
    options.average_pool = model.family == Family::mae;
    if (model.family == Family::deit3 || model.family == Family::cait) {
      options.layer_scale = options.uniform_drop_path = true;
      options.position_on_class_token = false;
    }
    options.num_class_blocks = model.family == Family::cait ? 2 : 0;
    options.layer_scale_init = model.layer_scale_init;
    return options;
  }
  const std::vector<std::string> known = known_models();
  throw usage_error(fmt::format("unknown model '{}'", name), fmt::format("known models: {}", fmt::join(known, ", ")));
}

std::vector<PublishedName> published_models() {
  std::vector<PublishedName> names;
  for (const Published& model : kPublished) {
    names.push_back({std::string(model.name), std::string(model.alias)});
  }
  return names;
}

std::vector<std::string> known_models() {
  std::vector<std::string> names;
  for (const PublishedName& published : published_models()) {
    names.push_back(published.name);
    if (!published.alias.empty()) {
      names.push_back(published.alias);
    }
  }
  return names;
}

}  // namespace maskedkd
