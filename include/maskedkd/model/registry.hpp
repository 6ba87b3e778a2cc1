// The published models by name: DeiT, DeiT3, CaiT, MAE's ViTs as they are fine-tuned, and timm's plain ones, with the
// official short names (deit3_small, mae_vit_base, ...) as aliases.
#pragma once

#include "maskedkd/model/vit.hpp"

#include <string>
#include <vector>

namespace maskedkd {

// Throws Error (usage) on an unknown name, listing the known ones.
VitOptions find_model(const std::string& name);

struct PublishedName {
  std::string name;
  std::string alias;  // empty: it has none
};
std::vector<PublishedName> published_models();
// Names and aliases.
std::vector<std::string> known_models();

}  // namespace maskedkd
