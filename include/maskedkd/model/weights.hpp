// Weights from other programs: which names they use, which model they are, whether they fit one. Names inside this
// program are timm's; Meta's files (DeiT3's gamma_1 / gamma_2, CaiT's `module.` before every name) and MAE's (decoder
// beside the encoder, norm instead of fc_norm) are understood, and so are the prefixes that wrappers and trainers add
// (weight_names.hpp). Everything here works on names and shapes; only resample_positions reads values. Called by
// Vit::load and by maskedkd_weights.
#pragma once

#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/model/vit.hpp"

#include <map>
#include <string>
#include <vector>

namespace maskedkd {

using TensorInfos = std::map<std::string, TensorInfo>;  // name -> dtype and shape, as io/safetensors.hpp reads them

// How the tensors of a file become a model's parameters.
struct WeightsMatch {
  std::map<std::string, std::string> source_of;  // parameter -> the file's name of it; those that fit
  std::vector<std::string> missing;              // parameters
  std::vector<std::string> unexpected;           // the file's names
  std::vector<std::string> wrong;                // "norm.weight is [9] instead of [8]"
  std::vector<std::string> changes;              // what loading does besides copying: "the head is new"
  // About the file's names: which prefix is removed, what other models it has, which tensors are not used.
  std::vector<std::string> about_names;
  bool fits() const { return missing.empty() && unexpected.empty() && wrong.empty(); }
  std::size_t num_problems() const { return missing.size() + unexpected.size() + wrong.size(); }
  // All problems in one line: spelt out where they are few, counted with examples where they are many.
  std::string problems() const;
};

// Where the file has several models (a student beside its teacher): the likeliest that fits, or else the nearest.
WeightsMatch match_weights(const VitOptions& model, const TensorInfos& given, const LoadOptions& how);

// Published names (no aliases) of which these are all the parameters, the number of classes left free; several where
// models differ only in their training. With LoadOptions::reinit_head also encoders without a head (MAE's).
std::vector<std::string> identify_model(const TensorInfos& given, const LoadOptions& how = {});

// What to do about weights that do not fit `model`, one line.
std::string mismatch_hint(const VitOptions& model, const TensorInfos& given);

// The number of classes of these weights' head; 0: there is none.
std::int64_t num_classes_of(const TensorInfos& given);

std::string shape_text(const std::vector<std::int64_t>& shape);  // "[3, 4]"

enum class NameStyle { timm, meta };
NameStyle parse_name_style(const std::string& text);  // throws Error (usage) listing the names

// The name in `style` of a parameter of `model` that timm calls `name`.
std::string styled_name(const std::string& name, NameStyle style, const VitOptions& model);

// Position embeddings [1, front + g g, D] for another grid: [1, front + grid grid, D] float32, the first `front` as
// they are, the others bicubic with antialiasing, as timm's resample_abs_pos_embed does it.
at::Tensor resample_positions(const at::Tensor& positions, std::int64_t front, std::int64_t grid);

}  // namespace maskedkd
