// The weights that a user names to maskedkd_weights, and what is known about them before a value is read.
#pragma once

#include "maskedkd/model/class_names.hpp"
#include "maskedkd/model/weights.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace maskedkd {

struct GivenWeights {
  std::filesystem::path file;
  TensorInfos tensors;
  ClassNames class_names;                    // empty: the file has none
  std::optional<VitOptions> declared_model;  // by the checkpoint that they are part of, or by the file
};

// path: a safetensors file, a checkpoint, or a run's folder. prefix: only the tensors whose names begin so; empty: all.
// Throws Error (usage), which lists the prefixes in the file.
GivenWeights open_weights(const std::filesystem::path& path, const std::string& prefix = {});
// The published model of that name with so many classes; 0: as many as it was published with.
VitOptions published_model(const std::string& name, std::int64_t num_classes);

// "deit_tiny_patch16_224, 1000 classes", or what is known about other models.
std::string model_text(const GivenWeights& weights);
// "1000, named 'n01440764', 'n01443537', ...", or that they are not known.
std::string classes_text(const ClassNames& names);
// The published model that the tensors are nearest to, and how they differ from it.
std::string nearest_published(const TensorInfos& tensors);

std::string grouped(std::int64_t number);               // 5717416 -> 5,717,416
std::string dtype_text(at::ScalarType dtype);           // PyTorch's name
std::string natural_sort_key(const std::string& name);  // sorts blocks.2 before blocks.10

}  // namespace maskedkd
