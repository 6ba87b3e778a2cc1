// Everything that training changes and a checkpoint stores as tensors (parameters, the optimizer's moments, the moving
// average of the weights), and the loss scale. Belongs to one rank, does not communicate, and decides about a step on
// the device. P: number of parameters.
#pragma once

#include "maskedkd/checkpoint/checkpoint.hpp"
#include "maskedkd/model/vit.hpp"
#include "maskedkd/train/adamw.hpp"
#include "maskedkd/train/flat_parameters.hpp"
#include "maskedkd/train/loss_scaler.hpp"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace maskedkd {

struct ModelStateOptions {
  VitOptions student;
  AdamWOptions adamw;
  double clip_gradient_norm = 0;  // 0: no clipping
  double ema_decay = 0;           // 0: no average
  bool scales_loss = false;       // fp16
};

class ModelState {
 public:
  // The parameters have no values yet: call restore(), or initialise or load student() and call start_average().
  ModelState(const ModelStateOptions& options, at::Device device);
  ModelState(const ModelState&) = delete;
  ModelState& operator=(const ModelState&) = delete;

  Vit& student() noexcept { return student_; }
  const Vit& student() const noexcept { return student_; }
  at::Device device() const noexcept { return parameters_.values().device(); }
  const FlatParameters& parameters() const noexcept { return parameters_; }
  // Of fp16, else undefined: a scalar on the device by which the loss is to be multiplied.
  at::Tensor loss_scale_factor() const { return options_.scales_loss ? scaler_.scale() : at::Tensor(); }
  double loss_scale() const;  // waits for the device, for fp16
  int good_steps() const;     // the same
  bool has_average() const noexcept { return average_.has_value(); }

  // The average begins with the current parameters. Call once, when the initial weights are set.
  void start_average();

  enum class Update {
    applied,
    skipped,  // the gradient overflowed, and the loss scale was reduced
    refused   // the gradient is not finite, and no loss scale can help
  };
  // One step from the sum [P] of num_micro_batches scaled gradients, which is overwritten: mean, unscaling, clipping,
  // AdamW, average. Where the gradient is not finite, only the loss scale changes. Does not wait for a GPU: returns
  // what update_of() takes, float64 [2] on the device: the norm of the mean gradient, and the loss scale after the
  // step.
  at::Tensor apply(const at::Tensor& gradient_sum, int num_micro_batches, double learning_rate);
  Update update_of(double gradient_norm, double loss_scale) const;

  // Views, by the groups of a checkpoint: model, optimizer, and ema if there is an average.
  std::map<std::string, NamedTensors> groups() const;
  std::uint64_t size_bytes() const;
  // The inverse of groups(). Throws Error (usage) naming a group or tensor that is missing.
  void restore(const LoadedCheckpoint& checkpoint);
  void restore_loss_scale(double loss_scale, int good_steps);

  // All of groups(), in few tensors, which must have the same bits on every rank: parameters, average and the
  // optimizer's moments, [P] each, and its number of steps.
  std::vector<at::Tensor> replicated() const;

  // Calls `work` while the student has the average's weights.
  void with_average(const std::function<void()>& work);

 private:
  ModelStateOptions options_;
  Vit student_;
  FlatParameters parameters_;
  AdamW optimizer_;
  std::optional<WeightAverage> average_;
  LossScaler scaler_;
};

}  // namespace maskedkd
