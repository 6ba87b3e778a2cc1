// Compares the published models with Meta's and the paper's sizes and with timm's lists of parameters.
#include "maskedkd/model/registry.hpp"

#include "maskedkd/base/error.hpp"
#include "reference_cases.hpp"

namespace maskedkd::testing {
namespace {

TEST(Registry, EveryModelHasItsPublishedParameterCount) {
  const std::map<std::string, std::int64_t> published = {
      {"deit_tiny_patch16_224", 5'717'416},
      {"deit_small_patch16_224", 22'050'664},
      {"deit_base_patch16_224", 86'567'656},
      {"deit_tiny_distilled_patch16_224", 5'910'800},
      {"deit_small_distilled_patch16_224", 22'436'432},
      {"deit_base_distilled_patch16_224", 87'338'192},
      {"deit_base_patch16_384", 86'859'496},
      {"deit3_small_patch16_224", 22'059'496},
      {"deit3_medium_patch16_224", 38'849'512},
      {"deit3_base_patch16_224", 86'585'320},
      {"deit3_large_patch16_224", 304'374'760},
      {"deit3_huge_patch14_224", 632'126'440},
      {"cait_s24_224", 46'916'200},
  };
  for (const auto& [name, count] : published) {
    EXPECT_EQ(count_parameters(find_model(name)), count) << name;
  }
}

TEST(Registry, EveryModelHasTimmsParametersInTimmsOrder) {
  const auto lists = read_reference_json("parameters.json");
  std::size_t compared = 0;
  for (const std::string& name : known_models()) {
    const VitOptions options = find_model(name);
    EXPECT_NO_THROW(options.validate());
    if (!lists.contains(name)) {
      continue;  // the short name of another model
    }
    std::vector<std::pair<std::string, std::vector<std::int64_t>>> expected;
    for (const auto& entry : lists.at(name)) {
      expected.emplace_back(entry.at(0), entry.at(1));
    }
    EXPECT_EQ(parameter_shapes(options), expected) << name;
    ++compared;
  }
  EXPECT_EQ(compared, lists.size());
}

TEST(Registry, ParametersAreThoseOfTheModel) {
  const VitOptions options = find_model("deit_tiny_distilled_patch16_224");
  const Vit model(options);
  const auto shapes = parameter_shapes(options);
  ASSERT_EQ(model.parameters().size(), shapes.size());
  std::int64_t total = 0;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    EXPECT_EQ(model.parameters()[i].first, shapes[i].first);
    EXPECT_EQ(model.parameters()[i].second.sizes().vec(), shapes[i].second);
    total += model.parameters()[i].second.numel();
  }
  EXPECT_EQ(total, model.num_parameters());
}

TEST(Registry, OptionsAreThoseOfTheReference) {
  for (const char* name :
       {"deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224", "cait_xxs24_224"}) {
    EXPECT_EQ(find_model(name), reference_case(name).options) << name;
  }
}

TEST(Registry, ShortNamesOfDeit3AreTheModelsAt224) {
  for (const char* size : {"small", "medium", "base", "large"}) {
    const std::string name = std::string("deit3_") + size;
    EXPECT_EQ(find_model(name), find_model(name + "_patch16_224"));
  }
  EXPECT_EQ(find_model("deit3_huge"), find_model("deit3_huge_patch14_224"));
  EXPECT_EQ(find_model("deit3_huge").num_patches(), 256);
  EXPECT_EQ(find_model("deit_base_patch16_384").num_patches(), 576);
}

TEST(Registry, ShortNamesOfMaeAreItsModels) {
  EXPECT_EQ(find_model("mae_vit_base"), find_model("mae_vit_base_patch16"));
  EXPECT_EQ(find_model("mae_vit_large"), find_model("mae_vit_large_patch16"));
  EXPECT_EQ(find_model("mae_vit_huge"), find_model("mae_vit_huge_patch14"));
}

TEST(Registry, AnUnknownModelListsTheKnownOnes) {
  for (const std::string name : {"deit_tiny", "resnet50", "", "DEIT3_SMALL", "deit3_small "}) {
    try {
      find_model(name);
      FAIL() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      EXPECT_NE(std::string(error.what()).find("'" + name + "'"), std::string::npos) << error.what();
      for (const std::string& known : known_models()) {
        EXPECT_NE(error.hint().find(known), std::string::npos) << known;
      }
      EXPECT_EQ((error.what() + error.hint()).find('\n'), std::string::npos);
    }
  }
}

TEST(Description, IsReadAsItWasWritten) {
  for (const std::string& name : known_models()) {
    VitOptions options = find_model(name);
    options.num_classes = 17;
    options.layer_scale_init = 0.1 + 1e-17;
    EXPECT_EQ(parse_model_description(describe_model(options), "here"), options);
  }
}

TEST(Description, RefusesInvalidTexts) {
  const std::string good = describe_model(find_model("deit3_small"));
  std::string without_depth = good, without_pooling = good, of_text = good, of_many_heads = good;
  without_depth.replace(without_depth.find("depth"), 5, "dapth");
  without_pooling.replace(without_pooling.find("average_pool"), 12, "average_pole");
  of_text.replace(of_text.find("384"), 3, "\"a\"");
  of_many_heads.replace(of_many_heads.find("\"num_heads\":6"), 13, "\"num_heads\":7");
  for (const std::string& text : {std::string(), std::string("{}"), std::string("[1]"), std::string("7"), good + "}",
                                  without_depth, without_pooling, of_text, of_many_heads}) {
    try {
      parse_model_description(text, "some/where");
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage) << text;
    }
  }
}

TEST(VitOptions, RefusesSizesThatFitNoModel) {
  const auto refused = [](const auto& change) {
    VitOptions options;
    change(options);
    try {
      options.validate();
    } catch (const Error& error) {
      return error.code() == ExitCode::usage;
    }
    return false;
  };
  EXPECT_NO_THROW(VitOptions().validate());
  EXPECT_TRUE(refused([](VitOptions& o) { o.patch_size = 15; }));
  EXPECT_TRUE(refused([](VitOptions& o) { o.patch_size = 0; }));
  EXPECT_TRUE(refused([](VitOptions& o) { o.patch_size = 448; }));
  EXPECT_TRUE(refused([](VitOptions& o) { o.input_size = -224; }));
  EXPECT_TRUE(refused([](VitOptions& o) { o.input_size = 0; }));
  EXPECT_TRUE(refused([](VitOptions& o) { o.num_heads = 5; }));
  EXPECT_TRUE(refused([](VitOptions& o) { o.num_heads = 0; }));
  EXPECT_TRUE(refused([](VitOptions& o) { o.width = 0; }));
  EXPECT_TRUE(refused([](VitOptions& o) { o.depth = 0; }));
  EXPECT_TRUE(refused([](VitOptions& o) { o.num_classes = 0; }));
  EXPECT_TRUE(refused([](VitOptions& o) { o.num_class_blocks = -1; }));
  EXPECT_TRUE(refused([](VitOptions& o) { o.num_class_blocks = 2; }));  // a CaiT without LayerScale
  EXPECT_TRUE(refused([](VitOptions& o) { o.average_pool = o.distilled = true; }));
  EXPECT_TRUE(refused([](VitOptions& o) { o.width = o.num_heads = 2'000'000'000; }));
}

}  // namespace
}  // namespace maskedkd::testing
