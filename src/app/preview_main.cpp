// maskedkd_preview: a picture of what a model will see of a packed set.
#include "maskedkd/app/augmentation_flags.hpp"
#include "maskedkd/app/contact_sheet.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/cli/options.hpp"
#include "maskedkd/cli/run_main.hpp"
#include "maskedkd/data/batch.hpp"
#include "maskedkd/data/loader.hpp"
#include "maskedkd/data/sampler.hpp"
#include "maskedkd/io/posix.hpp"

#include <ATen/TensorOperators.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace maskedkd {
namespace {

constexpr int kGroupsPerRow = 4;

struct PreviewCommand {
  std::filesystem::path data_path, output;
  int count = 64;
  std::uint64_t seed = 0;
  int epoch = 0, step = 0;
  AugmentOptions augment;
  MixOptions mixing;

  void bind(CommandLine& line) {
    line.group("Preview")
        .option("data-path", data_path, "folder of packed images (maskedkd_pack)")
        .option("output", output, "PNG file: each image, then augmented, then mixed")
        .option("count", count, "number of images, which make one micro-batch; an even number where they are mixed")
        .option("input-size", augment.input_size, "edge of the model's input, pixels")
        .option("seed", seed, "of everything random")
        .option("epoch", epoch, "epoch whose crops and operations are drawn")
        .option("step", step, "which micro-batch of --count images of that epoch");
    bind_augmentation(line, augment, mixing);
    line.required("data-path").required("output");
  }

  void validate() const {
    check_png_name(output, "output");
    if (count < 1 || count > 4096) {
      throw usage_error(fmt::format("--count {} must lie in [1, 4096]", count));
    }
    if (epoch < 0 || step < 0) {
      throw usage_error(fmt::format("--epoch {} and --step {} must not be below 0", epoch, step));
    }
    augment.validate();
    if (mixing.enabled() && count % 2 != 0) {  // names --count, where validate() would name --micro-batch
      throw usage_error(fmt::format("--count {} is odd: images are mixed in pairs", count),
                        "choose an even number, or turn mixing off: --mixup 0 --cutmix 0");
    }
    mixing.validate(count);
  }
};

// The whole image within a square of `edge` pixels, on gray.
std::vector<std::uint8_t> fitted(const Image& image, int edge) {
  const double scale = static_cast<double>(edge) / std::max(image.height, image.width);
  const int height = std::clamp(static_cast<int>(image.height * scale), 1, edge);
  const int width = std::clamp(static_cast<int>(image.width * scale), 1, edge);
  std::vector<std::uint8_t> small(static_cast<std::size_t>(height) * width * 3);
  crop_and_resize({image, 0, 0}, {0, 0, image.height, image.width}, height, width, {0, 0, height, width},
                  Interpolation::bicubic, small);
  std::vector<std::uint8_t> square(static_cast<std::size_t>(edge) * edge * 3, 224);
  for (int y = 0; y < height; ++y) {
    const auto row = small.begin() + static_cast<std::ptrdiff_t>(y) * width * 3;
    std::copy(row, row + static_cast<std::ptrdiff_t>(width) * 3,
              square.begin() + (static_cast<std::ptrdiff_t>(y + (edge - height) / 2) * edge + (edge - width) / 2) * 3);
  }
  return square;
}

// [3, S, S] float32, normalised -> [S, S, 3] levels; values outside of them (erasing's noise) are clamped.
std::vector<std::uint8_t> levels_of(const at::Tensor& image) {
  const at::Tensor planes = image.contiguous();
  const float* values = planes.const_data_ptr<float>();
  const std::int64_t num_pixels = planes.size(1) * planes.size(2);
  std::vector<std::uint8_t> levels(static_cast<std::size_t>(3 * num_pixels));
  for (std::int64_t i = 0; i < num_pixels; ++i) {
    for (std::int64_t channel = 0; channel < 3; ++channel) {
      const float level = denormalised(values[channel * num_pixels + i], static_cast<std::size_t>(channel));
      levels[static_cast<std::size_t>(3 * i + channel)] =
          static_cast<std::uint8_t>(std::clamp(level + 0.5F, 0.0F, 255.0F));
    }
  }
  return levels;
}

BatchRequest request_of(const PreviewCommand& command, const ShardSet& set) {
  SamplerOptions sampler;
  sampler.num_records = set.num_records();
  sampler.micro_batch = command.count;
  sampler.micro_batches_per_step = 1;
  sampler.seed = command.seed;
  if (set.num_records() < command.count) {
    throw usage_error(fmt::format("--count {} is more than the {} images of {}", command.count, set.num_records(),
                                  command.data_path.string()));
  }
  if (command.step >= sampler.steps_per_epoch()) {
    throw usage_error(
        fmt::format("--step {}: there are {} of {} images", command.step, sampler.steps_per_epoch(), command.count));
  }
  const EpochOrder order(sampler, static_cast<std::uint32_t>(command.epoch));
  return {static_cast<std::uint32_t>(command.epoch), static_cast<std::uint32_t>(command.step), 0,
          order.micro_batch(command.step, 0)};
}

int preview(int argc, char** argv) {
  PreviewCommand command;
  CommandLine line("maskedkd_preview",
                   "Draws what a model will see: images of a packed set, each unchanged, augmented, and mixed.",
                   "maskedkd_preview --data-path packed/train --count 64 --output augmented.png");
  command.bind(line);
  if (!line.parse(argc, argv)) {
    std::fputs(line.help().c_str(), stdout);
    return 0;
  }
  check_augmentation(line, command.augment, command.mixing);
  command.validate();
  command.data_path = find_set(command.data_path, "train");
  const ShardSet set(command.data_path);
  const BatchRequest request = request_of(command, set);
  create_writable_directory(std::filesystem::absolute(command.output).parent_path());

  LoaderOptions loading;
  loading.seed = command.seed;
  loading.augment = command.augment;
  loading.decisions.mixing = command.mixing;
  Loader loader(set, loading, [&request, given = false]() mutable -> std::optional<BatchRequest> {
    return std::exchange(given, true) ? std::nullopt : std::optional(request);
  });
  const MicroBatch batch = *loader.next();
  const int edge = command.augment.input_size;
  const at::Tensor augmented = prepared_images(batch.staged.views, /*mixed=*/false);  // [B, 3, S, S]
  const at::Tensor mixed = prepared_images(batch.staged.views, /*mixed=*/true);       // [B, 3, S, S]

  ContactSheet sheet(command.count, /*images_per_group=*/3, kGroupsPerRow, edge);
  for (int i = 0; i < command.count; ++i) {
    const Record record = set.read(request.indices[static_cast<std::size_t>(i)]);
    sheet.put(i, 0, fitted(decode_record(record, set.encoding(), OnDamage::decode_as_pil), edge));
    sheet.put(i, 1, levels_of(augmented[i]));
    sheet.put(i, 2, levels_of(mixed[i]));
  }
  sheet.write(command.output);
  fmt::print("{}: {} images, each unchanged, augmented, mixed\n", command.output.string(), command.count);
  return 0;
}

}  // namespace
}  // namespace maskedkd

int main(int argc, char** argv) {
  return maskedkd::run_main(argc, argv, std::function<int(int, char**)>(maskedkd::preview));
}
