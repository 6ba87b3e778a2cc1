#include "maskedkd/model/description.hpp"

#include "maskedkd/base/error.hpp"

#include <nlohmann/json.hpp>

namespace maskedkd {

constexpr const char* kMetadataKey = "maskedkd_model";

std::string describe_model(const VitOptions& options) {
  const nlohmann::ordered_json json = {{"input_size", options.input_size},
                                       {"patch_size", options.patch_size},
                                       {"width", options.width},
                                       {"depth", options.depth},
                                       {"num_heads", options.num_heads},
                                       {"num_classes", options.num_classes},
                                       {"distilled", options.distilled},
                                       {"layer_scale", options.layer_scale},
                                       {"position_on_class_token", options.position_on_class_token},
                                       {"uniform_drop_path", options.uniform_drop_path},
                                       {"average_pool", options.average_pool},
                                       {"num_class_blocks", options.num_class_blocks},
                                       {"layer_scale_init", options.layer_scale_init}};
  return json.dump();
}

VitOptions parse_model_description(const std::string& json, const std::string& source) {
  VitOptions options;
  try {
    const auto parsed = nlohmann::json::parse(json);
    parsed.at("input_size").get_to(options.input_size);
    parsed.at("patch_size").get_to(options.patch_size);
    parsed.at("width").get_to(options.width);
    parsed.at("depth").get_to(options.depth);
    parsed.at("num_heads").get_to(options.num_heads);
    parsed.at("num_classes").get_to(options.num_classes);
    parsed.at("distilled").get_to(options.distilled);
    parsed.at("layer_scale").get_to(options.layer_scale);
    parsed.at("position_on_class_token").get_to(options.position_on_class_token);
    parsed.at("uniform_drop_path").get_to(options.uniform_drop_path);
    parsed.at("average_pool").get_to(options.average_pool);
    parsed.at("num_class_blocks").get_to(options.num_class_blocks);
    parsed.at("layer_scale_init").get_to(options.layer_scale_init);
  } catch (const nlohmann::json::exception&) {
    throw usage_error(fmt::format("{} does not describe a model", source));
  }
  options.validate();
  return options;
}

SafetensorsMetadata model_metadata(const VitOptions& options) { return {{kMetadataKey, describe_model(options)}}; }

std::optional<VitOptions> model_in(const SafetensorsMetadata& metadata, const std::string& source) {
  const auto text = metadata.find(kMetadataKey);
  if (text == metadata.end()) {
    return std::nullopt;
  }
  return parse_model_description(text->second, fmt::format("{} in the metadata of {}", kMetadataKey, source));
}

}  // namespace maskedkd
