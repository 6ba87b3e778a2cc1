// Compares published models with random weights with timm: all patches, and half of them. The larger models take
// gigabytes and minutes and are compared only with MASKEDKD_EVERY_MODEL=1.
#include "maskedkd/model/registry.hpp"
#include "reference_cases.hpp"
#include "support/process.hpp"
#include "support/temporary_directory.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <cstdlib>

namespace maskedkd::testing {
namespace {

constexpr std::int64_t kLarge = 80'000'000;  // parameters

// Whether the model is small, or of a family whose smallest model is large.
bool is_always_compared(const std::string& name) {
  return count_parameters(find_model(name)) <= kLarge || name == "mae_vit_base_patch16";
}

// Compares the models that one call of published.py makes; returns the largest relative error.
double compare_with_timm(const std::vector<std::string>& names) {
  const TemporaryDirectory place;
  std::vector<std::string> command = {MASKEDKD_PYTHON, std::string(MASKEDKD_SOURCE_DIR) + "/tests/model/published.py",
                                      place.path()};
  command.insert(command.end(), names.begin(), names.end());
  const ProcessResult python = run_process(command, 900);
  EXPECT_EQ(python.exit_code, 0) << python.output;
  double worst = 0;
  for (const std::string& name : names) {
    Vit model(find_model(name));
    EXPECT_TRUE(model.load(read_safetensors(place.path() / (name + ".safetensors")).tensors, name).empty());
    const auto values = read_safetensors(place.path() / (name + ".io.safetensors")).tensors;
    VitForward how;
    const double all = relative_error(model.forward(values.at("images"), how).combined_logits(), values.at("logits"));
    how.kept_patches = values.at("kept");
    const double masked =
        relative_error(model.forward(values.at("images"), how).combined_logits(), values.at("masked_logits"));
    report(name + ", all patches", all);
    report(name + ", half of them", masked);
    EXPECT_LE(all, 1e-5) << name;
    EXPECT_LE(masked, 1e-5) << name;
    worst = std::max({worst, all, masked});
  }
  return worst;
}

TEST(Published, ModelsGiveTimmsLogitsMaskedAndNot) {
  const at::NoGradGuard no_grad;
  std::vector<std::string> handy, large;
  for (const PublishedName& published : published_models()) {
    (is_always_compared(published.name) ? handy : large).push_back(published.name);
  }
  double worst = compare_with_timm(handy);
  std::size_t compared = handy.size();
  if (std::getenv("MASKEDKD_EVERY_MODEL") != nullptr) {
    for (const std::string& name : large) {
      worst = std::max(worst, compare_with_timm({name}));
      ++compared;
    }
  }
  report("worst of " + std::to_string(compared) + " models", worst);
  EXPECT_GE(handy.size(), 14U);
}

}  // namespace
}  // namespace maskedkd::testing
