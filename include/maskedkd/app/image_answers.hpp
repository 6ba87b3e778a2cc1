// What a model answers about single image files: the shortest way to look at a trained model. maskedkd_evaluate
// --image.
#pragma once

#include "maskedkd/augment/augment.hpp"
#include "maskedkd/model/class_names.hpp"
#include "maskedkd/model/vit.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace maskedkd {

// The files decoded and cropped as in evaluation, [B, S, S, 3] uint8 on the CPU. Throws Error naming a file that can't
// be read.
at::Tensor load_image_files(const std::vector<std::filesystem::path>& files, const AugmentOptions& augment);

// A text of one paragraph an image: its file, and the (at most) five classes with the highest probability, by name
// where `names` has one. pixels: from load_image_files(files).
std::string answers_text(const Vit& model, at::Device device, at::ScalarType compute_dtype, const at::Tensor& pixels,
                         const std::vector<std::filesystem::path>& files, const ClassNames& names);

}  // namespace maskedkd
