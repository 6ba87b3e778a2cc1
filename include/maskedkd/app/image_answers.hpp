// What a model answers about single image files: the shortest way to look at a trained model. maskedkd_evaluate
// --image.
#pragma once

#include "maskedkd/augment/augment.hpp"
#include "maskedkd/data/loader.hpp"
#include "maskedkd/model/class_names.hpp"
#include "maskedkd/model/vit.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace maskedkd {

// The files decoded and cropped as in evaluation; labels are undefined. Throws Error naming a file that can't be read.
MicroBatch load_image_files(const std::vector<std::filesystem::path>& files, const AugmentOptions& augment);

// A text of one paragraph an image: its file, and the (at most) five classes with the highest probability, by name
// where `names` has one. batch: from load_image_files(files).
std::string answers_text(const Vit& model, at::Device device, at::ScalarType compute_dtype, const MicroBatch& batch,
                         const std::vector<std::filesystem::path>& files, const ClassNames& names);

}  // namespace maskedkd
