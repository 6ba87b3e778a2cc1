// What other programs add to a parameter's name: prefixes (`model.`, `student.`, `module.`), segments that wrappers of
// torch insert (`_orig_mod.` of torch.compile); and the different names of other libraries. Everything here works on
// names alone. Called by model/weights.cpp and maskedkd_weights.
#pragma once

#include <string>
#include <vector>

namespace maskedkd {

// The name without the segments that torch.compile, FSDP, activation checkpoints and Lightning's Fabric insert.
std::string without_wrappers(const std::string& name);

struct NamePrefix {
  std::string bare;      // "student.", without wrappers' segments; empty: the names have no prefix
  std::string as_given;  // "student._orig_mod.", as the file spells it
};

// The prefixes of the whole models among `names`: what stands before cls_token, pos_embed and patch_embed. The
// likeliest first: no prefix, then students and others, then averages, then teachers. An empty prefix where no model is
// found.
std::vector<NamePrefix> find_prefixes(const std::vector<std::string>& names);

// "transformers' names; ..." with what to do, where the names are those of another library, whose files can't be
// loaded; else empty.
std::string foreign_names(const std::vector<std::string>& names);

}  // namespace maskedkd
