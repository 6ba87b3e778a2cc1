// Reads the results of tests/model/reference.py: models with their weights, and timm's results on the same images.
#pragma once

#include "maskedkd/io/safetensors.hpp"
#include "maskedkd/model/description.hpp"
#include "maskedkd/model/vit.hpp"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace maskedkd::testing {

inline nlohmann::json read_reference_json(const std::string& file) {
  std::ifstream stream(std::filesystem::path(MASKEDKD_REFERENCE_DIR) / file);
  return nlohmann::json::parse(stream);
}

struct ReferenceCase {
  std::string name;
  VitOptions options;
  double drop_path_rate = 0;

  std::map<std::string, at::Tensor> weights() const { return read(".weights.safetensors"); }
  std::map<std::string, at::Tensor> values() const { return read(".io.safetensors"); }
  Vit model() const {
    Vit vit(options);
    vit.load(weights(), name);
    return vit;
  }
  // [L, 2, B], of the case's uniforms: floor(keep + U) / keep, with rates that rise from 0 or are uniform
  at::Tensor drop_path_factors() const {
    const at::Tensor factors = values().at("drop_path_uniforms").clone();
    for (int block = 0; block < options.depth; ++block) {
      const double share = options.uniform_drop_path ? 1 : options.depth == 1 ? 0 : block / (options.depth - 1.0);
      const double keep = 1 - drop_path_rate * share;
      factors[block].add_(keep).floor_().div_(keep);
    }
    return factors;
  }
  friend void PrintTo(const ReferenceCase& self, std::ostream* out) { *out << self.name; }

 private:
  std::map<std::string, at::Tensor> read(const std::string& suffix) const {
    return read_safetensors(std::filesystem::path(MASKEDKD_REFERENCE_DIR) / (name + suffix)).tensors;
  }
};

inline std::vector<ReferenceCase> reference_cases() {
  std::vector<ReferenceCase> cases;
  for (const auto& entry : read_reference_json("cases.json")) {
    cases.push_back({entry.at("name"), parse_model_description(entry.at("options").dump(), "cases.json"),
                     entry.at("drop_path_rate")});
  }
  return cases;
}

inline ReferenceCase reference_case(const std::string& name) {
  for (const ReferenceCase& found : reference_cases()) {
    if (found.name == name) {
      return found;
    }
  }
  throw std::runtime_error("no reference case " + name);
}

// Largest difference relative to the largest expected value.
inline double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes()) {
    ADD_FAILURE() << "shapes differ: " << actual.sizes() << " and " << expected.sizes();
    return INFINITY;
  }
  const at::Tensor wide = expected.to(at::kDouble);
  const double error =
      (actual.detach().to(at::kDouble) - wide).abs().max().item<double>() / wide.abs().max().item<double>();
  return std::isnan(error) ? INFINITY : error;
}

inline void report(const std::string& what, double value) { std::printf("    %-60s %.2e\n", what.c_str(), value); }

}  // namespace maskedkd::testing
