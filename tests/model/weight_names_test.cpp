// Prefixes of wrappers and trainers in names, several models in one file, and names of other libraries.
#include "maskedkd/model/weight_names.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/model/weights.hpp"
#include "support/contains.hpp"
#include "support/initialised_vit.hpp"

#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <functional>

namespace maskedkd::testing {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

VitOptions small(int width = 12) {
  VitOptions options;
  options.input_size = 16;
  options.patch_size = 4;
  options.width = width;
  options.depth = 2;
  options.num_heads = 3;
  options.num_classes = 5;
  return options;
}

Tensors parameters(const VitOptions& options, const std::function<std::string(const std::string&)>& renamed) {
  Tensors tensors;
  for (const auto& [name, shape] : parameter_shapes(options)) {
    tensors[renamed(name)] = at::randn(shape);
  }
  return tensors;
}

Tensors behind(const std::string& prefix, const VitOptions& options) {
  return parameters(options, [&](const std::string& name) { return prefix + name; });
}

Tensors merged(Tensors a, const Tensors& b) {
  a.insert(b.begin(), b.end());
  return a;
}

// Loads the file, compares every parameter with the tensor `source(name)`, and returns the messages.
std::vector<std::string> load_and_compare(const Tensors& file,
                                          const std::function<std::string(const std::string&)>& source) {
  Vit model = initialised_vit(small(), 1);
  const std::vector<std::string> messages = model.load(file, "file");
  for (const auto& [name, parameter] : model.parameters()) {
    EXPECT_TRUE(parameter.equal(file.at(source(name)))) << name << " is not " << source(name);
  }
  return messages;
}

std::string refusal(const Tensors& file, const VitOptions& options = small()) {
  try {
    initialised_vit(options, 1).load(file, "file");
  } catch (const Error& error) {
    return std::string(error.what()) + "; " + error.hint();
  }
  return {};
}

TEST(WithoutWrappers, RemovesOnlyWholeSegments) {
  EXPECT_EQ(without_wrappers("_orig_mod.norm.bias"), "norm.bias");
  EXPECT_EQ(without_wrappers("module._orig_mod.blocks.0._checkpoint_wrapped_module.norm1.bias"),
            "module.blocks.0.norm1.bias");
  EXPECT_EQ(without_wrappers("_fsdp_wrapped_module.blocks.1._fsdp_wrapped_module._orig_mod.norm1.bias"),
            "blocks.1.norm1.bias");
  EXPECT_EQ(without_wrappers("my_orig_mod.norm.bias"), "my_orig_mod.norm.bias");
  EXPECT_EQ(without_wrappers(""), "");
}

TEST(LoadBehindPrefix, AnyPrefixIsRemoved) {
  for (const char* prefix : {"module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "net.",
                             "student.", "backbone.", "a.b.c.", "model._orig_mod.module.", "_forward_module.model."}) {
    const auto named = [&](const std::string& name) { return prefix + name; };
    const auto messages = load_and_compare(parameters(small(), named), named);
    EXPECT_EQ(messages, std::vector<std::string>{std::string("file: its names are taken without '") + prefix + "'"});
  }
}

TEST(LoadBehindPrefix, WrappersInsideOfTheModelAreRemoved) {
  for (const char* wrapper : {"_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "module."}) {
    for (const std::string prefix : {"", "model."}) {
      const auto named = [&](const std::string& name) {
        const std::string block = "blocks.1.";
        return prefix + (name.rfind(block, 0) == 0 ? block + wrapper + name.substr(block.size()) : name);
      };
      load_and_compare(parameters(small(), named), named);
    }
  }
}

TEST(LoadBehindPrefix, OtherTensorsAreIgnoredWithAMessage) {
  Tensors file = behind("model.", small());
  file["criterion.weight"] = at::randn({5});
  file["n_averaged"] = at::randn({1});
  const auto messages = load_and_compare(file, [](const std::string& name) { return "model." + name; });
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_EQ(messages[1], "file: 2 other tensors are ignored, e.g. criterion.weight, n_averaged");
  // Without a prefix they count as part of the model.
  file = behind("", small());
  file["criterion.weight"] = at::randn({5});
  EXPECT_CONTAINS(refusal(file), "unexpected criterion.weight");
}

TEST(LoadBehindPrefix, AHeadBesideTheEncoderIsFound) {
  for (const std::string outer : {"", "module.", "_orig_mod.module.", "a.b."}) {
    const auto named = [&](const std::string& name) {
      return outer + (name.rfind("head.", 0) == 0 ? name : "backbone." + name);
    };
    Tensors file = parameters(small(), named);
    file["head.weight"] = outer.empty() ? file["head.weight"] : at::randn({7, 3});  // of another model
    file["other.head.weight"] = at::randn({8, 3});
    load_and_compare(file, named);
    TensorInfos infos;
    for (const auto& [name, tensor] : file) {
      infos[name] = {at::kFloat, tensor.sizes().vec()};
    }
    EXPECT_EQ(num_classes_of(infos), 5);
  }
}

TEST(LoadBehindPrefix, TheStudentIsTakenNotItsTeacher) {
  for (const std::string before : {"", "module.", "model."}) {
    const Tensors file = merged(behind(before + "teacher.", small()), behind(before + "student.", small()));
    const auto messages = load_and_compare(file, [&](const std::string& name) { return before + "student." + name; });
    ASSERT_EQ(messages.size(), 3U);
    EXPECT_CONTAINS(messages[0], "without '" + before + "student.'");
    EXPECT_CONTAINS(messages[2], "another model under '" + before + "teacher.'");
    EXPECT_CONTAINS(messages[2], "maskedkd_weights convert --prefix");
  }
}

TEST(LoadBehindPrefix, TheModelIsTakenNotItsAverage) {
  for (const char* average : {"model_ema.", "ema_model.module.", "averaged_model.", "model_momentum."}) {
    const Tensors file = merged(behind(average, small()), behind("model.", small()));
    load_and_compare(file, [&](const std::string& name) { return "model." + name; });
  }
}

TEST(LoadBehindPrefix, TheModelThatFitsIsTaken) {
  const Tensors file = merged(behind("teacher.", small()), behind("student.", small(24)));
  const auto messages = load_and_compare(file, [](const std::string& name) { return "teacher." + name; });
  EXPECT_CONTAINS(messages[0], "without 'teacher.'");
}

TEST(LoadBehindPrefix, AParameterWithTwoNamesIsRefused) {
  Tensors file = behind("model.", small());
  file["model._orig_mod.norm.bias"] = at::randn({12});
  EXPECT_CONTAINS(refusal(file), "norm.bias under two names");
}

TEST(LoadBehindPrefix, ManyPrefixesTakeLittleTime) {
  Tensors file;
  for (int i = 0; i < 2000; ++i) {
    file[fmt::format("p{}.cls_token", i)] = at::Tensor(at::randn({1}));
    file[fmt::format("p{}.pos_embed", i)] = at::Tensor(at::randn({1}));
  }
  EXPECT_CONTAINS(refusal(file), "does not fit the model");
}

TEST(Refusal, CountsNamesIfManyDoNotFit) {
  Tensors file;
  for (int i = 0; i < 300; ++i) {
    file[fmt::format("layer.{:03}", i)] = at::randn({1});
  }
  const std::string message = refusal(file);
  const std::size_t expected = parameter_shapes(small()).size();
  EXPECT_TRUE(
      contains(message, fmt::format("which has {0} tensors: {0} missing, e.g. cls_token, pos_embed; 300 unknown, "
                                    "e.g. layer.000, layer.001",
                                    expected)))
      << message;
  EXPECT_LT(message.size(), 300U);
}

TEST(Refusal, NamesTheLibraryThatUsesTheNames) {
  const std::vector<std::pair<std::string, std::string>> libraries = {
      {"vit.encoder.layer.0.attention.attention.query.weight|vit.embeddings.patch_embeddings.projection.weight",
       "transformers' names"},
      {"deit.embeddings.patch_embeddings.projection.bias|deit.layers.0.attention.q_proj.bias", "transformers' names"},
      {"encoder.layers.encoder_layer_0.self_attention.in_proj_weight|conv_proj.weight", "torchvision's names"},
      {"backbone.cls_token|backbone.pos_embed|backbone.patch_embed.projection.weight|backbone.layers.0.ln1.weight",
       "mmpretrain's names"},
      {"Transformer/encoderblock_0/LayerNorm_0/scale", "JAX"},
      {"visual.transformer.resblocks.0.ln_1.weight", "CLIP's names"},
      {"base_model.model.blocks.0.attn.qkv.lora_A.default.weight", "adapters of PEFT"},
  };
  for (const auto& [names, library] : libraries) {
    Tensors file;
    for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
      end = names.find('|', begin);
      file[names.substr(begin, end - begin)] = at::randn({1});
    }
    EXPECT_CONTAINS(refusal(file), "these are ");
    EXPECT_CONTAINS(refusal(file), library);
  }
  EXPECT_FALSE(contains(refusal(behind("", small(24))), "names"));
}

}  // namespace
}  // namespace maskedkd::testing
