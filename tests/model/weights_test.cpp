// Weights of other programs: their names, the model they belong to, missing and unexpected tensors, positions of
// another grid, heads.
#include "maskedkd/model/weights.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/model/registry.hpp"
#include "reference_cases.hpp"
#include "support/contains.hpp"
#include "support/initialised_vit.hpp"

#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <limits>

namespace maskedkd::testing {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

VitOptions small(bool cait = false, bool average_pool = false) {
  VitOptions options;
  options.input_size = 16;
  options.patch_size = 4;
  options.width = 12;
  options.depth = 2;
  options.num_heads = 3;
  options.num_classes = 5;
  options.layer_scale = !average_pool;
  options.position_on_class_token = average_pool;
  options.num_class_blocks = cait ? 2 : 0;
  options.average_pool = average_pool;
  return options;
}

Tensors random_parameters(const VitOptions& options) {
  Tensors tensors;
  for (const auto& [name, shape] : parameter_shapes(options)) {
    tensors[name] = at::randn(shape);
  }
  return tensors;
}

TensorInfos infos_of(const VitOptions& options) {
  TensorInfos infos;
  for (const auto& [name, shape] : parameter_shapes(options)) {
    infos[name] = {at::kFloat, shape};
  }
  return infos;
}

TensorInfos renamed(const TensorInfos& infos, NameStyle style, const VitOptions& options) {
  TensorInfos result;
  for (const auto& [name, info] : infos) {
    result[styled_name(name, style, options)] = info;
  }
  return result;
}

std::string refusal(const VitOptions& options, const Tensors& tensors, const LoadOptions& how = {}) {
  try {
    Vit model = initialised_vit(options, 3);
    model.load(tensors, "file", how);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    return std::string(error.what()) + "; " + error.hint();
  }
  return {};
}

TEST(StyledName, UsesMetasNames) {
  const VitOptions deit3 = find_model("deit3_small"), cait = find_model("cait_s24_224"),
                   deit = find_model("deit_tiny_patch16_224");
  EXPECT_EQ(styled_name("blocks.11.ls1.gamma", NameStyle::meta, deit3), "blocks.11.gamma_1");
  EXPECT_EQ(styled_name("blocks.0.ls2.gamma", NameStyle::meta, deit3), "blocks.0.gamma_2");
  EXPECT_EQ(styled_name("blocks.0.ls2.gamma", NameStyle::timm, deit3), "blocks.0.ls2.gamma");
  EXPECT_EQ(styled_name("blocks.0.attn.proj.bias", NameStyle::meta, deit3), "blocks.0.attn.proj.bias");
  EXPECT_EQ(styled_name("blocks_token_only.1.gamma_1", NameStyle::meta, cait), "module.blocks_token_only.1.gamma_1");
  EXPECT_EQ(styled_name("blocks_token_only.1.gamma_1", NameStyle::timm, cait), "blocks_token_only.1.gamma_1");
  EXPECT_EQ(styled_name("head.weight", NameStyle::meta, deit), "head.weight");
  EXPECT_THROW(parse_name_style("hugging"), Error);
}

TEST(Load, AcceptsEveryStyleBitForBit) {
  for (const VitOptions& options : {small(), small(true), small(false, true)}) {
    const Tensors tensors = random_parameters(options);
    for (const NameStyle style : {NameStyle::timm, NameStyle::meta}) {
      for (const std::string prefix : {"", "module."}) {
        Tensors file;
        for (const auto& [name, tensor] : tensors) {
          const std::string styled = styled_name(name, style, options);
          file[styled.rfind("module.", 0) == 0 ? styled : prefix + styled] = tensor;
        }
        Vit model = initialised_vit(options, 1);
        const bool prefixed = file.begin()->first.rfind("module.", 0) == 0;
        EXPECT_EQ(model.load(file, "file"),
                  prefixed ? std::vector<std::string>{"file: its names are taken without 'module.'"}
                           : std::vector<std::string>{});
        for (const auto& [name, parameter] : model.parameters()) {
          EXPECT_TRUE(parameter.equal(tensors.at(name))) << name;
        }
      }
    }
  }
}

TEST(Load, KeepsLayerScaleOfCaitAndDeit3Apart) {
  Tensors tensors = random_parameters(small(true));
  tensors["blocks.0.ls1.gamma"] = tensors.at("blocks.0.gamma_1");
  tensors.erase("blocks.0.gamma_1");
  const std::string message = refusal(small(true), tensors);
  EXPECT_CONTAINS(message, "missing blocks.0.gamma_1");
  EXPECT_CONTAINS(message, "unexpected blocks.0.ls1.gamma");
}

TEST(Load, RefusesOneParameterWithAndWithoutPrefix) {
  Tensors tensors = random_parameters(small());
  tensors["module.norm.bias"] = at::randn({12});
  EXPECT_CONTAINS(refusal(small(), tensors), "norm.bias under two names");
}

TEST(IdentifyModel, IdentifiesEveryPublishedModelInEveryStyle) {
  for (const PublishedName& published : published_models()) {
    for (const int classes : {1000, 10}) {
      VitOptions options = find_model(published.name);
      options.num_classes = classes;
      for (const NameStyle style : {NameStyle::timm, NameStyle::meta}) {
        const TensorInfos infos = renamed(infos_of(options), style, options);
        const std::vector<std::string> names = identify_model(infos);
        EXPECT_TRUE(std::find(names.begin(), names.end(), published.name) != names.end()) << published.name;
        EXPECT_EQ(num_classes_of(infos), classes);
        for (const std::string& name : names) {  // some differ only in their training
          VitOptions same = find_model(name);
          same.num_classes = classes;
          EXPECT_EQ(same, options) << name << " for " << published.name;
        }
      }
    }
  }
}

TEST(IdentifyModel, IdentifiesNoneForOtherTensors) {
  TensorInfos infos = infos_of(find_model("deit3_small"));
  EXPECT_EQ(identify_model(infos), std::vector<std::string>{"deit3_small_patch16_224"});
  TensorInfos more = infos, fewer = infos, other = infos;
  more["extra"] = {at::kFloat, {1}};
  fewer.erase("norm.bias");
  other["norm.bias"] = {at::kFloat, {385}};
  TensorInfos of_integers = infos;
  of_integers["norm.bias"] = {at::kLong, {384}};
  TensorInfos hostile = infos;
  hostile["head.weight"] = {at::kFloat, {std::numeric_limits<std::int64_t>::max(), 384}};
  for (const TensorInfos& file : {more, fewer, other, of_integers, hostile, TensorInfos()}) {
    EXPECT_TRUE(identify_model(file).empty());
  }
}

TensorInfos pretraining_of_mae() {
  TensorInfos infos = infos_of(find_model("vit_base_patch16_224"));  // token pool: norm, no fc_norm
  infos.erase("head.weight");
  infos.erase("head.bias");
  infos["mask_token"] = {at::kFloat, {1, 1, 512}};
  infos["decoder_embed.weight"] = {at::kFloat, {512, 768}};
  infos["decoder_pos_embed"] = {at::kFloat, {1, 197, 512}};
  infos["decoder_blocks.0.norm1.weight"] = {at::kFloat, {512}};
  return infos;
}

TEST(IdentifyModel, IdentifiesAnEncoderOfMaeIfTheHeadMayBeNew) {
  EXPECT_TRUE(identify_model(pretraining_of_mae()).empty());
  const auto names = identify_model(pretraining_of_mae(), {.reinit_head = true});
  EXPECT_TRUE(std::find(names.begin(), names.end(), "mae_vit_base_patch16") != names.end());
  EXPECT_EQ(num_classes_of(pretraining_of_mae()), 0);
}

TEST(ReinitHead, KeepsTheHeadAndLoadsTheRest) {
  for (VitOptions options : {small(), small(true), small(false, true)}) {
    const Vit fresh = initialised_vit(options, 3);
    VitOptions other = options;
    other.num_classes = 9;
    for (const Tensors& file : {random_parameters(other), random_parameters(options)}) {
      Vit model = initialised_vit(options, 3);
      const auto messages = model.load(file, "file", {.reinit_head = true});
      EXPECT_EQ(messages, std::vector<std::string>{"file: the head is new"});
      for (std::size_t i = 0; i < fresh.parameters().size(); ++i) {
        const auto& [name, value] = model.parameters()[i];
        const bool head = name.rfind("head", 0) == 0;
        EXPECT_TRUE(value.equal(head ? fresh.parameters()[i].second : file.at(name))) << name;
      }
    }
  }
}

TEST(ReinitHead, KeepsBothHeadsOfADistilledModel) {
  VitOptions options = small();
  options.layer_scale = false;
  options.position_on_class_token = options.distilled = true;
  VitOptions other = options;
  other.num_classes = 9;
  const Vit fresh = initialised_vit(options, 3);
  Vit model = initialised_vit(options, 3);
  model.load(random_parameters(other), "file", {.reinit_head = true});
  EXPECT_TRUE(model.parameters().back().second.equal(fresh.parameters().back().second));
  EXPECT_EQ(model.parameters().back().first, "head_dist.bias");
}

TEST(ReinitHead, IsSuggestedIfOnlyTheHeadDiffers) {
  const VitOptions options = small();
  VitOptions other = options;
  other.num_classes = 9;
  EXPECT_CONTAINS(refusal(options, random_parameters(other)), "--reinit-head");
  EXPECT_TRUE(
      contains(refusal(options, random_parameters(other)), "it has 9 classes, the model 5 (head.weight is [9, 12])"));
  Tensors wider = random_parameters(options);  // with the same classes
  wider["head.weight"] = at::randn({5, 13});
  EXPECT_CONTAINS(refusal(options, wider), "head.weight is [5, 13] instead of [5, 12]");
  Tensors without = random_parameters(options);
  without.erase("head.weight");
  without.erase("head.bias");
  EXPECT_TRUE(contains(refusal(options, without), "missing head.weight; missing head.bias"))
      << refusal(options, without);
  EXPECT_CONTAINS(refusal(options, without), "--reinit-head");
  without.erase("norm.bias");
  EXPECT_FALSE(contains(refusal(options, without), "--reinit-head"));
  EXPECT_CONTAINS(refusal(options, without, {.reinit_head = true}), "missing norm.bias");
}

TEST(ReinitHead, LoadsTheEncoderOfMaesPretraining) {
  const VitOptions options = small(false, true);
  VitOptions token_pool = options;
  token_pool.average_pool = false;
  Tensors file = random_parameters(token_pool);
  file.erase("head.weight");
  file.erase("head.bias");
  file["mask_token"] = at::randn({1, 1, 8});
  file["decoder_embed.weight"] = at::randn({8, 12});
  file["decoder_blocks.0.attn.qkv.weight"] = at::randn({24, 8});
  const std::string message = refusal(options, file);
  EXPECT_CONTAINS(message, "missing fc_norm.weight");
  EXPECT_CONTAINS(message, "--reinit-head");
  Vit model = initialised_vit(options, 3);
  const auto messages = model.load(file, "file", {.reinit_head = true});
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_CONTAINS(messages[0], "the head and the fc_norm before it are new");
  EXPECT_CONTAINS(messages[1], "5 tensors that only pretraining uses");  // including two of norm
  for (const auto& [name, parameter] : model.parameters()) {
    if (file.count(name) != 0) {
      EXPECT_TRUE(parameter.equal(file.at(name))) << name;
    }
  }
  file["fc_norm.weight"] = at::randn({12});  // without its bias
  EXPECT_CONTAINS(refusal(options, file, {.reinit_head = true}), "missing fc_norm.bias");
  file.erase("fc_norm.weight");
  // A model that reads the class token also loads norm.
  Vit other = initialised_vit(token_pool, 3);
  EXPECT_CONTAINS(other.load(file, "file", {.reinit_head = true})[1], "3 tensors");
}

TEST(Positions, AreInterpolatedAsTimmDoes) {
  const Tensors tensors =
      read_safetensors(std::filesystem::path(MASKEDKD_REFERENCE_DIR) / "positions.safetensors").tensors;
  std::size_t compared = 0;
  for (const auto& entry : read_reference_json("positions.json")) {
    const std::string key = entry.at("key");
    const at::Tensor resampled = resample_positions(tensors.at(key + ".given"), entry.at("front"), entry.at("grid"));
    const double error = relative_error(resampled, tensors.at(key + ".expected"));
    report("positions " + key, error);
    EXPECT_LE(error, 1e-6) << key;
    ++compared;
  }
  EXPECT_EQ(compared, 10U);
}

TEST(Positions, OfAnotherGridAreInterpolatedWithAMessage) {
  for (const VitOptions& options : {small(), small(true), small(false, true)}) {
    VitOptions other = options;
    other.input_size = 28;
    const Tensors file = random_parameters(other);
    Vit model = initialised_vit(options, 1);
    const auto messages = model.load(file, "file");
    ASSERT_EQ(messages.size(), 1U);
    EXPECT_CONTAINS(messages[0], "pos_embed is interpolated from 7 x 7 to 4 x 4 patches");
    const std::int64_t front = options.position_on_class_token ? 1 : 0;
    for (const auto& [name, parameter] : model.parameters()) {
      EXPECT_TRUE(parameter.equal(name == "pos_embed" ? resample_positions(file.at(name), front, 4) : file.at(name)));
    }
  }
}

TEST(Positions, OfNoGridOrAnotherWidthAreRefused) {
  Tensors file = random_parameters(small());
  for (const std::vector<std::int64_t>& shape :
       std::vector<std::vector<std::int64_t>>{{1, 17, 12}, {1, 9, 13}, {2, 9, 12}, {9, 12}, {1, 0, 12}, {1, 10, 12}}) {
    file["pos_embed"] = at::randn(shape);
    EXPECT_CONTAINS(refusal(small(), file), "pos_embed is [");
  }
  // The position of the class token is not one of a patch: a DeiT's 10 positions do not fit a DeiT3 with 9.
  EXPECT_THROW(resample_positions(at::randn({1, 10, 12}), 0, 4), Error);
}

TEST(Load, NamesTensorsWithNanOrInfinity) {
  Tensors file = random_parameters(small());
  file["blocks.1.mlp.fc1.weight"][3][4] = std::numeric_limits<float>::quiet_NaN();
  file["norm.bias"][2] = -std::numeric_limits<float>::infinity();
  Vit model = initialised_vit(small(), 1);
  const auto messages = model.load(file, "some/file");
  EXPECT_EQ(messages, (std::vector<std::string>{"some/file: blocks.1.mlp.fc1.weight holds NaN or infinity",
                                                "some/file: norm.bias holds NaN or infinity"}));
  // A sum that overflows is not reported as infinity.
  file = random_parameters(small());
  file["head.weight"] = at::full({5, 12}, 3e38);
  EXPECT_TRUE(model.load(file, "some/file").empty());
}

TEST(Load, NamesOfTheFileStayInOneLine) {
  Tensors file = random_parameters(small());
  file["evil\nname\x1b[31m" + std::string(500, 'x')] = at::randn({1});
  const std::string message = refusal(small(), file);
  EXPECT_CONTAINS(message, "unexpected evil?name?[31mxxx");
  EXPECT_FALSE(contains(message, "\n"));
  EXPECT_FALSE(contains(message, "\x1b"));
  EXPECT_LT(message.size(), 400U);
}

TEST(Load, ReleasesEachTensorAfterItIsCopied) {
  Tensors file = random_parameters(small());
  const at::Tensor first = file.at("cls_token");
  EXPECT_GT(first.use_count(), 1);
  Vit model = initialised_vit(small(), 1);
  model.load(std::move(file), "file");
  EXPECT_EQ(first.use_count(), 1);
}

}  // namespace
}  // namespace maskedkd::testing
