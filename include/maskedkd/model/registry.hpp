// The published models by name: DeiT and DeiT3, with DeiT3's official short names (deit3_small, ...) as aliases.
#pragma once

#include "maskedkd/model/vit.hpp"

#include <string>
#include <vector>

namespace maskedkd {

// Throws Error (usage) on an unknown name, listing the known ones.
VitOptions find_model(const std::string& name);
std::vector<std::string> known_models();

}  // namespace maskedkd
