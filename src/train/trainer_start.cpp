// The construction of a run: data, student and teacher, the checkpoint that it resumes from.
#include "maskedkd/base/environment.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/comm/topology.hpp"
#include "maskedkd/distill/patch_selection.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/kernels/augment_images.hpp"
#include "maskedkd/model/description.hpp"
#include "maskedkd/train/class_check.hpp"
#include "maskedkd/train/resume.hpp"
#include "maskedkd/train/trainer.hpp"
#include "maskedkd/train/weights_source.hpp"

#include <ATen/Parallel.h>

#include <utility>

namespace maskedkd {
namespace {

void check_device(const TrainOptions& options, at::Device device) {
  if (options.precision == Precision::fp16 && !device.is_cuda()) {
    throw usage_error("--precision fp16 is for GPUs, and this run is on CPUs", "take bf16 or fp32");
  }
  if (options.augment_on_gpu && !device.is_cuda()) {
    throw usage_error("--augment-on gpu is for GPUs, and this run is on CPUs", "leave it out");
  }
  if (options.augment_on_gpu && !can_augment_on_gpu()) {
    throw usage_error("--augment-on gpu: this program was built without nvcc",
                      "build it with the CUDA toolkit of LibTorch's version, or leave it out");
  }
}

// Rank 0 finds the file: a run that is still active may get another best checkpoint meanwhile.
std::filesystem::path find_on_rank_0(const MpiSession& session, const std::filesystem::path& weights,
                                     const char* flag) {
  return session.broadcast(session.rank() == 0 ? weights_file(weights, flag).string() : "");
}

TrainOptions checked_options(const MpiSession& session, TrainOptions options, at::Device device) {
  check_device(options, device);
  if (!options.teacher_path.empty()) {
    options.teacher_path = find_on_rank_0(session, options.teacher_path, "--teacher-path: ");
  }
  return options;
}

WatchdogOptions watchdog_options(const MpiSession& session, const TrainOptions& options) {
  session.activity().report("opening data, student and teacher", Activity::Pace::slow);
  return {options.hang_timeout_s, {}};
}

SamplerOptions sampler_of(const TrainOptions& options, const ShardSet& set) {
  SamplerOptions sampler;
  sampler.num_records = set.num_records();
  sampler.micro_batch = options.micro_batch;
  sampler.micro_batches_per_step = options.micro_batches_per_step();
  sampler.repeats = options.repeats;
  sampler.seed = options.seed;
  sampler.repeat_locality = options.repeat_locality;
  sampler.validate();
  return sampler;
}

ModelStateOptions model_options(const TrainOptions& options) {
  return {options.student, options.adamw, options.clip_gradient_norm, options.ema_decay,
          options.precision == Precision::fp16};
}

std::optional<Teacher> make_teacher(const TrainOptions& options, at::Device device) {
  if (options.distillation.type == DistillationType::none) {
    return std::nullopt;
  }
  const VitOptions teacher =
      weights_model(options.teacher_path, options.teacher_model, "teacher-model", options.student.num_classes);
  check_compatible(options.student, teacher, options.mask, options.schedule.epochs);
  return std::make_optional<Teacher>(teacher, options.teacher_path, device, scalar_type(options.precision),
                                     options.reference_kernels);
}

std::string describe_teacher(const TrainOptions& options, const VitOptions& teacher) {
  const VitOptions& student = options.student;
  const MaskOptions& mask = options.mask;
  const std::int64_t epochs = options.schedule.epochs;
  const std::int64_t first = mask.kept_patches(0, epochs, teacher.num_patches());
  const std::int64_t last = mask.kept_patches(epochs - 1, epochs, teacher.num_patches());
  std::string text =
      fmt::format("teacher of {} parameters sees {} of {} patches", count_parameters(teacher),
                  first == last ? std::to_string(first) : fmt::format("{} to {}", first, last), teacher.num_patches());
  if (first != last) {
    text += fmt::format(" ({} over the epochs)", to_string(mask.schedule));
  }
  if (mask.criterion != MaskCriterion::all) {
    text += fmt::format(", criterion {}", to_string(mask.criterion));
  }
  if (student.input_size != teacher.input_size) {
    text += fmt::format("; the student's images of {0} x {0} pixels are resized to its {1} x {1}", student.input_size,
                        teacher.input_size);
  }
  if (uses_student_attention(mask.criterion) && student.grid_size() != teacher.grid_size()) {
    text += fmt::format("; the student's attention on {0} x {0} patches is resampled to its {1} x {1}",
                        student.grid_size(), teacher.grid_size());
  }
  return text;
}

// Only rank 0 has a time limit, as clocks differ.
JobClock job_clock(const MpiSession& session, const TrainOptions& options) {
  TimeLimit limit(options.time_limit, environment_variable);  // all ranks refuse an invalid time
  if (session.rank() != 0) {
    limit = {"none", environment_variable};
  } else if (!limit.past_end_warning().empty()) {
    spdlog::warn("{}{}", limit.past_end_warning(), limit.seconds_left() ? "" : "; there is no time limit");
  }
  return {std::move(limit), environment_variable("SLURM_JOB_ID")};
}

void warn(const std::vector<std::string>& lines) {
  for (const std::string& line : lines) {
    log_on_rank_0(spdlog::level::warn, line);
  }
}

}  // namespace

Trainer::Trainer(const MpiSession& session, const TrainOptions& options, const OptionTexts& texts, at::Device device)
    : session_(session),
      options_(checked_options(session, options, device)),
      folder_(session, options.output_dir),
      comm_{{session, watchdog_options(session, options)}, {}, {}, {}},
      data_(session, options_),
      plan_{sampler_of(options_, data_.train()),
            micro_batch_share(options.micro_batches_per_step(), session.rank(), session.size())},
      model_(model_options(options_), device),
      teacher_(make_teacher(options_, device)),
      distillation_(options_, model_.parameters(), teacher_ ? &*teacher_ : nullptr),
      results_(device),
      stop_(job_clock(session, options), options.stop_after_steps),
      display_({options.schedule.epochs, plan_.sampler.steps_per_epoch(), plan_.sampler.global_batch()},
               session.rank() == 0, [this](const RunStatus& status) { folder_.set_status(status); }) {
  comm_.communicator = make_communicator(session, device);
  comm_.watched = comm_.watchdog.watch(*comm_.communicator);
  comm_.gradient_sum.emplace(*comm_.communicator, device, options_.deterministic);
  if (teacher_) {
    check_classes_of_weights(options_.teacher_path, data_.train(), on_mismatch(options.ignore_class_names));
    spdlog::info("{}", describe_teacher(options_, teacher_->options()));
    warn(teacher_->warnings());
  }
  state_ = describe_start(texts);
  const std::optional<LoadedCheckpoint> checkpoint = find_checkpoint();
  if (checkpoint) {
    resume(*checkpoint);
  } else {
    set_initial_weights();
  }
  make_replicas_equal();
  saver_ = make_saver();
  if (checkpoint) {
    saver_->record_restored(checkpoint->path);
  }
  data_.start_staging(session, options_);
  feed_ = std::make_unique<BatchFeed>(make_loader(), distillation_.input_device());
  show("starting");
}

Trainer::~Trainer() = default;

RunState Trainer::describe_start(const OptionTexts& texts) const {
  RunState state;
  state.model = describe_model(options_.student);
  state.data_set_id = data_.train().set_id();
  const bool hashes = teacher_.has_value() && session_.rank() == 0;
  state.teacher_sha256 = session_.broadcast(hashes ? sha256_of_file(options_.teacher_path) : "");
  state.teacher_model = teacher_ ? describe_model(teacher_->options()) : "";
  state.options = texts;
  state.ranks = session_.size();
  state.threads = at::get_num_threads();
  state.device = model_.device().is_cuda() ? "cuda" : "cpu";
  state.gpus = gpu_names(session_, model_.device());
  return state;
}

// Rank 0 chooses, reads and verifies the checkpoint; its tensors reach the others with make_replicas_equal().
std::optional<LoadedCheckpoint> Trainer::find_checkpoint() {
  session_.activity().report("restoring a checkpoint", Activity::Pace::slow);
  std::optional<LoadedCheckpoint> checkpoint;
  if (session_.rank() == 0) {
    checkpoint = choose_checkpoint(folder_.checkpoints(), options_.resume,
                                   /*was_restarted=*/folder_.lease()->owner().restarts > 0);
  }
  checkpoint = share_checkpoint(session_, std::move(checkpoint));
  folder_.record_start(checkpoint ? checkpoint->path.filename().string() : "");
  if (session_.rank() == 0) {
    try {
      check_free_space(options_.output_dir, model_.size_bytes());
    } catch (const Error& error) {
      if (!checkpoint) {
        throw;
      }
      spdlog::warn("{}; {}", error.what(), error.hint());  // as when a later save fails
    }
  }
  return checkpoint;
}

void Trainer::set_initial_weights() {
  Vit& student = model_.student();
  if (options_.finetune.empty() || options_.reinit_head) {
    session_.activity().report("drawing the first weights", Activity::Pace::slow);
    student.initialise(options_.seed);
  }
  if (!options_.finetune.empty()) {
    const std::filesystem::path file = find_on_rank_0(session_, options_.finetune, "--finetune: ");
    warn(student.load(read_safetensors(file).tensors, file.string(), {.reinit_head = options_.reinit_head}));
    if (!options_.reinit_head) {
      check_classes_of_weights(file, data_.train(), on_mismatch(options_.ignore_class_names),
                               "start with a new head (--reinit-head), or ");
    }
  }
  model_.start_average();
}

void Trainer::resume(const LoadedCheckpoint& checkpoint) {
  if (const auto metadata = checkpoint.metadata.find("model"); metadata != checkpoint.metadata.end()) {
    check_classes_of_checkpoint(checkpoint.path, class_names_in(metadata->second), data_.train());
  }
  std::vector<std::string> warnings;
  state_ = resumed_state(checkpoint, state_, options_.schedule.epochs, folder_.checkpoints(), warnings);
  warn(warnings);
  if (session_.rank() == 0) {
    model_.restore(checkpoint);
  }
  model_.restore_loss_scale(state_.loss_scale, state_.good_steps);
  spdlog::info("resuming from {}: epoch {}, step {} of {}", checkpoint.path.string(), state_.epoch + 1, state_.step,
               plan_.sampler.steps_per_epoch());
  bool has_best = false;
  if (session_.rank() == 0) {
    has_best = restore_best_mark(*folder_.lease(), folder_.checkpoints(), state_.best);
    folder_.write_log(state_.history);  // the process may have been killed before it was written
  }
  if (!session_.any(has_best)) {
    state_.best = {};
  }
}

// All ranks take rank 0's values: it alone has read a checkpoint, and a formula gives the same bits only on machines of
// one kind.
void Trainer::make_replicas_equal() {
  for (at::Tensor& values : model_.replicated()) {
    comm_.communicator->broadcast(values, 0);
  }
}

std::unique_ptr<RunSaver> Trainer::make_saver() {
  const SaverRanks ranks = {session_.rank(), session_.size(), [this](bool mine) { return session_.any(mine); },
                            &session_.activity()};
  auto background = std::make_unique<BackgroundSaver>(folder_.lease(), folder_.staging_folder(), folder_.checkpoints(),
                                                      RetentionOptions{options_.keep_checkpoints});
  return std::make_unique<RunSaver>(ranks, options_, state_, model_, class_metadata(data_.train().class_names()),
                                    std::move(background));
}

std::unique_ptr<Loader> Trainer::make_loader() const {
  const int own_per_step = plan_.share.last - plan_.share.first;
  LoaderOptions loading;
  loading.seed = options_.seed;
  loading.augment = options_.augment;
  loading.decisions = distillation_.decisions();
  loading.num_workers = options_.num_workers;
  // An image is decoded once if its repeats are open together.
  loading.prefetch = options_.micro_batches_ahead(own_per_step);
  loading.open_together = std::min(options_.micro_batches_sharing_images(own_per_step), loading.prefetch);
  loading.on_record = [this] { session_.activity().beat(); };
  loading.bad_records_limit = options_.bad_records_limit;
  loading.device = model_.device();
  loading.raw_crops = options_.augment_on_gpu;
  return std::make_unique<Loader>(
      data_.train(), loading,
      [source = MicroBatchSource(plan_.sampler, plan_.share, options_.schedule.epochs, state_.epoch,
                                 state_.step)]() mutable { return source.next(); });
}

}  // namespace maskedkd
