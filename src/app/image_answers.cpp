#include "maskedkd/app/image_answers.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/codecs/image.hpp"
#include "maskedkd/data/batch.hpp"
#include "maskedkd/io/posix.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>

#include <algorithm>
#include <span>

namespace maskedkd {
namespace {

constexpr std::int64_t kMostAnswers = 5;
constexpr std::int64_t kBatch = 32;  // bounds the memory of a forward pass

Image decode_file(const std::filesystem::path& file) {
  const std::string bytes = read_text_file(file);
  try {
    return decode_image({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  } catch (const Error& error) {
    throw usage_error(fmt::format("--image {}: {}", file.string(), error.what()), error.hint());
  }
}

at::Tensor probabilities_of(const Vit& model, at::Device device, at::ScalarType compute_dtype,
                            const at::Tensor& pixels) {
  const at::NoGradGuard no_grad;
  VitForward how;
  how.compute_dtype = compute_dtype;
  const std::int64_t num_images = pixels.size(0);
  const at::Tensor logits = at::empty({num_images, model.options().num_classes}, at::kDouble);
  for (std::int64_t first = 0; first < num_images; first += kBatch) {
    const std::int64_t count = std::min(kBatch, num_images - first);
    const at::Tensor images = normalised_images(pixels.narrow(0, first, count), device);
    logits.narrow(0, first, count).copy_(model.forward(images, how).combined_logits());
  }
  return logits.softmax(1);
}

}  // namespace

at::Tensor load_image_files(const std::vector<std::filesystem::path>& files, const AugmentOptions& augment) {
  const auto side = static_cast<std::int64_t>(augment.input_size);
  at::Tensor all = at::empty({static_cast<std::int64_t>(files.size()), side, side, 3}, at::kByte);
  for (std::size_t i = 0; i < files.size(); ++i) {
    const ImageRegion region{decode_file(files[i])};
    const EvaluationPlan plan = plan_evaluation(region.part.height, region.part.width, augment);
    const at::Tensor pixels = all[static_cast<std::int64_t>(i)];
    apply_evaluation_plan(plan, region,
                          {pixels.mutable_data_ptr<std::uint8_t>(), static_cast<std::size_t>(pixels.numel())});
  }
  return all;
}

std::string answers_text(const Vit& model, at::Device device, at::ScalarType compute_dtype, const at::Tensor& pixels,
                         const std::vector<std::filesystem::path>& files, const ClassNames& names) {
  const auto name_of_class = [&](std::int64_t label) {
    const auto index = static_cast<std::size_t>(label);
    return index < names.size() ? printable_name(names[index]) : fmt::format("class {}", label);
  };
  const auto num_answers = std::min<std::int64_t>(kMostAnswers, model.options().num_classes);
  const auto [shares, labels] = probabilities_of(model, device, compute_dtype, pixels).topk(num_answers, 1);  // [B, 5]
  std::string text;
  for (std::size_t i = 0; i < files.size(); ++i) {
    text += fmt::format("{}\n", files[i].string());
    for (std::int64_t k = 0; k < num_answers; ++k) {
      const auto row = static_cast<std::int64_t>(i);
      text += fmt::format("  {:6.2f} %  {}\n", 100 * shares[row][k].item<double>(),
                          name_of_class(labels[row][k].item<std::int64_t>()));
    }
  }
  return text;
}

}  // namespace maskedkd
