#include "maskedkd/data/mixing.hpp"

#include "maskedkd/base/enum_names.hpp"
#include "maskedkd/base/error.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace maskedkd {
namespace {

constexpr EnumNames<MixMode, 3> kModes = {
    {{"batch", MixMode::batch}, {"pair", MixMode::pair}, {"elem", MixMode::elem}}};

int below(PhiloxStream& random, int bound) { return static_cast<int>(random.below(static_cast<std::uint32_t>(bound))); }

// A box of area 1 - lambda, anywhere, cut off at the image's borders.
PixelBox draw_box(PhiloxStream& random, int height, int width, double lambda) {
  const double ratio = std::sqrt(1.0 - lambda);
  const int cut_height = static_cast<int>(height * ratio), cut_width = static_cast<int>(width * ratio);
  const int centre_y = below(random, height), centre_x = below(random, width);
  const int top = std::clamp(centre_y - cut_height / 2, 0, height);
  const int bottom = std::clamp(centre_y + cut_height / 2, 0, height);
  const int left = std::clamp(centre_x - cut_width / 2, 0, width);
  const int right = std::clamp(centre_x + cut_width / 2, 0, width);
  return {top, left, bottom - top, right - left};
}

// Each side by itself; the box lies within the image.
PixelBox draw_box(PhiloxStream& random, int height, int width, const CutMixSides& sides) {
  const auto side = [&](int length) {
    const int least = static_cast<int>(length * sides.smallest), end = static_cast<int>(length * sides.largest);
    return least + (end > least ? below(random, end - least) : 0);
  };
  const auto place = [&](int length, int cut) { return cut < length ? below(random, length - cut) : 0; };
  const int cut_height = side(height), cut_width = side(width);
  const int top = place(height, cut_height), left = place(width, cut_width);
  return {top, left, cut_height, cut_width};
}

MixPlan::Sample draw_sample(PhiloxStream& random, int height, int width, const MixOptions& options) {
  MixPlan::Sample sample;
  if (random.uniform() >= options.probability) {
    return sample;
  }
  const bool both = options.mixup_alpha > 0 && options.has_cutmix();
  sample.cut = both ? random.uniform() < options.switch_probability : options.has_cutmix();
  if (sample.cut && options.cutmix_sides) {
    sample.box = draw_box(random, height, width, *options.cutmix_sides);
  } else {
    const double alpha = sample.cut ? options.cutmix_alpha : options.mixup_alpha;
    sample.lambda = random.beta(alpha, alpha);
    sample.box = sample.cut ? draw_box(random, height, width, sample.lambda) : PixelBox{};
  }
  if (sample.cut) {
    sample.lambda =
        1.0 - static_cast<double>(sample.box.height) * sample.box.width / (static_cast<double>(height) * width);
  }
  return sample;
}

}  // namespace

MixMode parse_mix_mode(const std::string& text) { return parse_name(kModes, text, "--mixup-mode"); }

std::optional<CutMixSides> CutMixSides::parse(const std::string& text) {
  if (text == "none") {
    return std::nullopt;
  }
  CutMixSides sides;
  const char* end = text.data() + text.size();
  const auto [comma, first] = std::from_chars(text.data(), end, sides.smallest);
  const bool has_comma = first == std::errc() && comma != end && *comma == ',';
  const auto [rest, second] = std::from_chars(has_comma ? comma + 1 : end, end, sides.largest);
  if (!has_comma || second != std::errc() || rest != end || !(sides.smallest >= 0) ||
      !(sides.smallest < sides.largest) || !(sides.largest <= 1)) {
    throw usage_error(fmt::format("--cutmix-minmax: '{}' is not two increasing numbers within [0, 1]", text),
                      "give numbers such as 0.2,0.8, or none");
  }
  return sides;
}

void MixOptions::validate(int micro_batch) const {
  if (!(mixup_alpha >= 0) || !(cutmix_alpha >= 0)) {
    throw usage_error(fmt::format("--mixup {} and --cutmix {} must not be below 0", mixup_alpha, cutmix_alpha));
  }
  const auto is_share = [](double value) { return value >= 0 && value <= 1; };
  if (!is_share(probability) || !is_share(switch_probability) || !is_share(label_smoothing)) {
    throw usage_error(fmt::format("--mixup-prob {}, --mixup-switch-prob {} and --smoothing {} must lie in [0, 1]",
                                  probability, switch_probability, label_smoothing));
  }
  if (enabled() && micro_batch % 2 != 0) {
    throw usage_error(fmt::format("--micro-batch {} is odd: images are mixed in pairs", micro_batch),
                      "use an even one, or no mixing: --mixup 0 --cutmix 0 --cutmix-minmax none");
  }
}

MixPlan draw_mix_plan(PhiloxStream& random, int batch, int height, int width, const MixOptions& options) {
  MixPlan plan;
  plan.samples.resize(static_cast<std::size_t>(batch));
  if (!options.enabled()) {
    return plan;
  }
  switch (options.mode) {
    case MixMode::batch:
      std::fill(plan.samples.begin(), plan.samples.end(), draw_sample(random, height, width, options));
      break;
    case MixMode::pair:
      for (int i = 0; i < batch / 2; ++i) {
        plan.samples[i] = plan.samples[batch - 1 - i] = draw_sample(random, height, width, options);
      }
      break;
    case MixMode::elem:
      for (MixPlan::Sample& sample : plan.samples) {
        sample = draw_sample(random, height, width, options);
      }
      break;
  }
  return plan;
}

}  // namespace maskedkd
