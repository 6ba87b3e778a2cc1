// What stands around a parameter's name in the files of others: prefixes (`model.`, `student.`, `module.`), segments
// that wrappers of torch insert (`_orig_mod.` of torch.compile), and whole vocabularies of other libraries. Everything
// here works on names alone. Called by model/weights.cpp and maskedkd_weights.
#pragma once

#include <string>
#include <vector>

namespace maskedkd {

// The name without the segments that torch.compile, FSDP, activation checkpoints and Lightning's Fabric insert.
std::string without_wrappers(const std::string& name);

struct NamePrefix {
  std::string bare;      // "student.", without wrappers' segments; empty: the names are a model's as they are
  std::string as_given;  // "student._orig_mod.", as the file spells it
};

// Where `names` have a whole model: the prefixes before cls_token, pos_embed and patch_embed. The likeliest first: none
// before any, averages behind what they are of, teachers last. One without any prefix where no model is found.
std::vector<NamePrefix> find_prefixes(const std::vector<std::string>& names);

// "transformers' names; ..." with what to do, where the names are those of a library whose models are other ones; else
// empty.
std::string foreign_names(const std::vector<std::string>& names);

}  // namespace maskedkd
