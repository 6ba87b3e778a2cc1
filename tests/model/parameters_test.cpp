// Loading parameters: which tensors are accepted, which are refused, and what casting and moving leave unchanged.
#include "maskedkd/base/error.hpp"
#include "maskedkd/model/registry.hpp"
#include "maskedkd/model/vit.hpp"
#include "support/contains.hpp"
#include "support/initialised_vit.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace maskedkd::testing {
namespace {

VitOptions small_deit3() {
  VitOptions options;
  options.input_size = 12;
  options.patch_size = 4;
  options.width = 8;
  options.depth = 3;
  options.num_heads = 2;
  options.num_classes = 5;
  options.layer_scale = true;
  options.position_on_class_token = false;
  return options;
}

std::map<std::string, at::Tensor> random_parameters(const VitOptions& options) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, shape] : parameter_shapes(options)) {
    tensors[name] = at::randn(shape);
  }
  return tensors;
}

// The Error of loading `tensors`, which must leave the model unchanged.
std::string refusal(const VitOptions& options, const std::map<std::string, at::Tensor>& tensors) {
  Vit model = initialised_vit(options, 3);
  std::map<std::string, at::Tensor> before;
  for (const auto& [name, parameter] : model.parameters()) {
    before[name] = parameter.clone();
  }
  std::string message;
  try {
    model.load(tensors, "some/file.safetensors");
  } catch (const Error& error) {
    message = error.what();
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_NE(message.find("some/file.safetensors"), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  for (const auto& [name, parameter] : model.parameters()) {
    EXPECT_TRUE(parameter.equal(before[name])) << name;
  }
  return message;
}

TEST(Load, CopiesEveryParameterByName) {
  const VitOptions options = small_deit3();
  const auto tensors = random_parameters(options);
  Vit model = initialised_vit(options, 1);
  const void* storage = model.parameters()[3].second.const_data_ptr();
  model.load(tensors, "here");
  for (const auto& [name, parameter] : model.parameters()) {
    EXPECT_TRUE(parameter.equal(tensors.at(name))) << name;
    EXPECT_FALSE(parameter.is_same(tensors.at(name))) << name;
  }
  EXPECT_EQ(model.parameters()[3].second.const_data_ptr(), storage);
}

TEST(Load, AcceptsOtherFloatingPointTypes) {
  const VitOptions options = small_deit3();
  auto tensors = random_parameters(options);
  for (auto& [name, tensor] : tensors) {
    tensor = tensor.to(at::kBFloat16);
  }
  Vit model = initialised_vit(options, 1);
  model.load(tensors, "here");
  for (const auto& [name, parameter] : model.parameters()) {
    EXPECT_EQ(parameter.scalar_type(), at::kFloat);
    EXPECT_TRUE(parameter.equal(tensors.at(name).to(at::kFloat))) << name;
  }
}

TEST(Load, AcceptsMetasNamesOfLayerScale) {
  const VitOptions options = small_deit3();
  const auto tensors = random_parameters(options);
  std::map<std::string, at::Tensor> meta;
  std::size_t renamed = 0;
  for (const auto& [name, tensor] : tensors) {
    std::string other = name;
    for (const char* digit : {"1", "2"}) {
      const std::string timm = std::string(".ls") + digit + ".gamma";
      if (const auto at = other.find(timm); at != std::string::npos) {
        other.replace(at, timm.size(), std::string(".gamma_") + digit);
        ++renamed;
      }
    }
    meta[other] = tensor;
  }
  ASSERT_EQ(renamed, 6U);
  Vit model = initialised_vit(options, 1);
  model.load(meta, "here");
  for (const auto& [name, parameter] : model.parameters()) {
    EXPECT_TRUE(parameter.equal(tensors.at(name))) << name;
  }
}

TEST(Load, NamesMissingUnexpectedAndMisshapenTensors) {
  const VitOptions options = small_deit3();
  auto tensors = random_parameters(options);
  tensors.erase("blocks.1.attn.qkv.bias");
  EXPECT_CONTAINS(refusal(options, tensors), "missing blocks.1.attn.qkv.bias");
  tensors["blocks.3.attn.qkv.bias"] = at::randn({24});
  tensors["norm.weight"] = at::randn({9});
  tensors["pos_embed"] = at::randn({1, 10, 8});
  const std::string message = refusal(options, tensors);
  EXPECT_CONTAINS(message, "missing blocks.1.attn.qkv.bias");
  EXPECT_CONTAINS(message, "unexpected blocks.3.attn.qkv.bias");
  EXPECT_CONTAINS(message, "norm.weight is [9] instead of [8]");
  EXPECT_CONTAINS(message, "pos_embed is [1, 10, 8] instead of [1, 9, 8]");
}

TEST(Load, SaysWhichClassCountsDiffer) {
  const VitOptions options = small_deit3();
  VitOptions other = options;
  other.num_classes = 7;
  const std::string message = refusal(options, random_parameters(other));
  EXPECT_CONTAINS(message, "7 classes");
  EXPECT_CONTAINS(message, "head.bias is [7] instead of [5]");
}

TEST(Load, RefusesIntegersAndForeignModelsBriefly) {
  const VitOptions options = small_deit3();
  auto tensors = random_parameters(options);
  tensors["norm.bias"] = at::ones({8}, at::kLong);
  EXPECT_CONTAINS(refusal(options, tensors), "norm.bias");
  EXPECT_CONTAINS(refusal(options, {}), "missing, e.g. cls_token");
  const std::string message = refusal(options, random_parameters(find_model("deit_tiny_distilled_patch16_224")));
  EXPECT_LT(message.size(), 1000U) << message;
  EXPECT_CONTAINS(message, "more");
}

// A file with both names of a LayerScale contradicts itself.
TEST(Load, RefusesTwoNamesOfOneParameter) {
  const VitOptions options = small_deit3();
  auto tensors = random_parameters(options);
  tensors["blocks.0.gamma_1"] = at::randn({8});
  EXPECT_CONTAINS(refusal(options, tensors), "blocks.0");
}

TEST(Load, WorksWhileGradientsAreRecorded) {
  const VitOptions options = small_deit3();
  Vit model = initialised_vit(options, 1);
  model.set_requires_grad(true);
  const auto tensors = random_parameters(options);
  model.load(tensors, "here");
  EXPECT_TRUE(model.parameters()[0].second.requires_grad());
  EXPECT_TRUE(model.parameters()[0].second.is_leaf());
  model.set_requires_grad(false);
  EXPECT_FALSE(model.parameters()[0].second.requires_grad());
}

TEST(CastMatrixWeights, LeavesNormsTokensPositionsAndScalesInFp32) {
  VitOptions options = small_deit3();
  options.distilled = true;
  Vit model = initialised_vit(options, 1);
  model.cast_matrix_weights(at::kBFloat16);
  std::size_t cast = 0;
  for (const auto& [name, parameter] : model.parameters()) {
    const bool matrix =
        contains(name, "qkv") || contains(name, "proj") || contains(name, "fc") || contains(name, "head");
    EXPECT_EQ(parameter.scalar_type(), matrix ? at::kBFloat16 : at::kFloat) << name;
    cast += matrix ? 1 : 0;
  }
  EXPECT_EQ(cast, 2U * (1 + 4 * 3 + 2));  // weight and bias of: embedding, four a block, two heads
}

TEST(Vit, KeepsItsParametersWhenItIsMoved) {
  Vit first = initialised_vit(small_deit3(), 1);
  const void* storage = first.parameters()[0].second.const_data_ptr();
  const at::Tensor images = at::randn({2, 3, 12, 12});
  const at::Tensor logits = first.forward(images, {}).logits;
  const Vit second(std::move(first));
  EXPECT_EQ(second.parameters()[0].second.const_data_ptr(), storage);
  EXPECT_TRUE(second.forward(images, {}).logits.equal(logits));
}

}  // namespace
}  // namespace maskedkd::testing
