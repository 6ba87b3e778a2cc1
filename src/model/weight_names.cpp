#include "maskedkd/model/weight_names.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <set>
#include <string_view>

namespace maskedkd {
namespace {

constexpr std::size_t kMostPrefixes = 6;  // a hostile file could have as many as tensors

// No model here has these segments in its own names.
constexpr std::array kWrappers = {"_orig_mod.",      "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
                                  "_fpw_module.",    "_forward_module.",      "_original_module.",
                                  "_flat_param_mod."};

// Every model here has these, once.
constexpr std::array kAnchors = {"cls_token", "pos_embed", "patch_embed.proj.weight"};

// Lower: more likely the model that is wanted.
int rank_of(const std::string& prefix) {
  if (prefix.empty()) {
    return 0;
  }
  std::string lower;
  std::transform(prefix.begin(), prefix.end(), std::back_inserter(lower),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  const auto has = [&](const char* part) { return lower.find(part) != std::string::npos; };
  if (has("teacher")) {
    return 4;
  }
  if (has("ema") || has("average") || has("momentum") || has("target") || has("swa")) {
    return 3;
  }
  return has("student") ? 1 : 2;
}

struct ForeignNames {
  std::string_view mark;
  const char* text;
};
constexpr std::array kForeign = {
    ForeignNames{"lora_A", "adapters of PEFT; merge them into the model (merge_and_unload) and save its state_dict()"},
    ForeignNames{"patch_embeddings.projection.",
                 "transformers' names, with query, key and value apart; take timm's file of the same model"},
    ForeignNames{"encoder_layer_", "torchvision's names; take timm's file of the same model"},
    ForeignNames{"patch_embed.projection.", "mmpretrain's names; take the authors' file or timm's of the same model"},
    ForeignNames{"encoderblock_", "the names of Google's JAX code; take timm's file of the same model"},
    ForeignNames{"resblocks.", "CLIP's names; take timm's file of the same model"},
    ForeignNames{"to_qkv.", "vit-pytorch's names; its models differ from timm's"},
};

}  // namespace

std::string without_wrappers(const std::string& name) {
  std::string bare = name;
  if (bare.find("_mod") == std::string::npos) {  // which all have
    return bare;
  }
  for (const char* wrapper : kWrappers) {
    const std::string_view segment(wrapper);
    for (std::size_t at = bare.find(segment); at != std::string::npos; at = bare.find(segment, at)) {
      if (at == 0 || bare[at - 1] == '.') {
        bare.erase(at, segment.size());
      } else {
        ++at;
      }
    }
  }
  return bare;
}

std::vector<NamePrefix> find_prefixes(const std::vector<std::string>& names) {
  struct Found {
    std::string as_given;
    std::set<std::string_view> anchors;
  };
  std::map<std::string, Found> found;
  for (const std::string& name : names) {
    const std::string bare = without_wrappers(name);
    for (const char* text : kAnchors) {
      const std::string_view anchor(text);
      if (bare.ends_with(anchor) && (bare.size() == anchor.size() || bare[bare.size() - anchor.size() - 1] == '.')) {
        Found& prefix = found[bare.substr(0, bare.size() - anchor.size())];
        if (name.ends_with(anchor) && prefix.anchors.empty()) {  // no wrapper in between
          prefix.as_given = name.substr(0, name.size() - anchor.size());
        }
        prefix.anchors.insert(anchor);
      }
    }
  }
  std::vector<NamePrefix> prefixes;
  for (auto& [bare, prefix] : found) {
    if (prefix.anchors.size() >= 2) {  // one may be missing; that is reported later
      prefixes.push_back({bare, prefix.as_given});
    }
  }
  std::stable_sort(prefixes.begin(), prefixes.end(),
                   [](const NamePrefix& a, const NamePrefix& b) { return rank_of(a.bare) < rank_of(b.bare); });
  prefixes.resize(std::min(prefixes.size(), kMostPrefixes));
  if (prefixes.empty()) {
    prefixes.emplace_back();
  }
  return prefixes;
}

std::string foreign_names(const std::vector<std::string>& names) {
  for (const ForeignNames& foreign : kForeign) {
    for (const std::string& name : names) {
      if (name.find(foreign.mark) != std::string::npos) {
        return foreign.text;
      }
    }
  }
  return {};
}

}  // namespace maskedkd
