// The trainer's beginning and end: how it is put together, takes up a checkpoint, writes one.
#include "maskedkd/base/log.hpp"
#include "maskedkd/base/progress.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/distill/patch_selection.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/unfinished.hpp"
#include "maskedkd/kernels/augment_images.hpp"
#include "maskedkd/model/description.hpp"
#include "maskedkd/train/class_check.hpp"
#include "maskedkd/train/trainer.hpp"
#include "maskedkd/train/weights_source.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace maskedkd {
namespace {

// Rank 0 has just verified it: what is wrong with it here is this machine's view of the file system, and may pass.
LoadedCheckpoint load_what_rank_0_has(const std::filesystem::path& path) {
  try {
    return load_checkpoint(path);
  } catch (const Error& error) {
    throw Error(fmt::format("can't read the checkpoint {}, which rank 0 can: {}", path.string(), error.what()),
                error.hint(), ExitCode::requeue, error.where());
  }
}

// Rank 0 finds the file: a run that still goes on may get another best checkpoint meanwhile.
std::filesystem::path found_by_rank_0(const MpiSession& session, const std::filesystem::path& weights,
                                      const char* flag) {
  return session.broadcast(session.rank() == 0 ? weights_file(weights, flag).string() : "");
}

TrainOptions with_teacher_found(const MpiSession& session, TrainOptions options) {
  if (!options.teacher_path.empty()) {
    options.teacher_path = found_by_rank_0(session, options.teacher_path, "--teacher-path: ");
  }
  return options;
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

std::optional<Teacher> make_teacher(const TrainOptions& options, at::Device device) {
  if (options.distillation.type == DistillationType::none) {
    return std::nullopt;
  }
  const VitOptions teacher =
      weights_model(options.teacher_path, options.teacher_model, "teacher-model", options.student.num_classes);
  check_compatible(options.student, teacher, options.mask, options.schedule.epochs);
  return std::make_optional<Teacher>(teacher, options.teacher_path, device, scalar_type(options.precision));
}

// One line: what the teacher is and what it sees.
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
  const bool attends = mask.criterion == MaskCriterion::student || mask.criterion == MaskCriterion::lowest;
  if (attends && student.grid_size() != teacher.grid_size()) {
    text += fmt::format("; the student's attention on {0} x {0} patches is resampled to its {1} x {1}",
                        student.grid_size(), teacher.grid_size());
  }
  return text;
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

WatchdogOptions watching(const MpiSession& session, const TrainOptions& options) {
  session.activity().now("opening data, student and teacher", Activity::Pace::slow);
  return {options.hang_timeout_s, {}};
}

std::function<void()> beats_of(const MpiSession& session) {
  return [&session] { session.activity().beat(); };
}

// Once, not by every rank.
void tell(const MpiSession& session, const std::vector<std::string>& lines) {
  for (const std::string& line : lines) {
    spdlog::log(session.rank() == 0 ? spdlog::level::warn : spdlog::level::debug, "{}", line);
  }
}

Mismatch mismatch_of(const TrainOptions& options) {
  return options.ignore_class_names ? Mismatch::warned : Mismatch::refused;
}

Vit make_student(const TrainOptions& options, const ShardSet& set, at::Device device) {
  if (set.num_classes() > options.student.num_classes) {
    throw usage_error(fmt::format("{} has {} classes, the student {}", set.directory().string(), set.num_classes(),
                                  options.student.num_classes),
                      fmt::format("give at least --num-classes {}, or leave it out", set.num_classes()));
  }
  Vit student(options.student);
  student.to_device(device);
  student.set_requires_grad(true);
  return student;
}

// Rank 0's alone is obeyed: clocks differ.
TimeLimit time_limit_of(const MpiSession& session, const TrainOptions& options) {
  TimeLimit limit(options.time_limit, variable);  // all ranks refuse what is no time
  if (session.rank() != 0) {
    return {"none", variable};
  }
  if (!limit.remark().empty()) {
    spdlog::warn("{}{}", limit.remark(), limit.seconds_left() ? "" : "; there is no time limit");
  }
  return limit;
}

}  // namespace

Trainer::Trainer(const MpiSession& session, const TrainOptions& options, const OptionTexts& texts, at::Device device)
    : session_(session),
      options_(with_teacher_found(session, options)),
      device_(device),
      folder_(session, options.output_dir),
      watchdog_(session, watching(session, options)),
      train_set_(options.data_path, beats_of(session)),
      eval_set_(options.eval_data_path.empty()
                    ? std::nullopt
                    : std::make_optional<ShardSet>(options.eval_data_path, beats_of(session))),
      sampler_(sampler_of(options, train_set_)),
      student_(make_student(options_, train_set_, device)),
      teacher_(make_teacher(options_, device)),
      parameters_(student_),
      optimizer_(parameters_, options.adamw),
      scaler_(options.precision == Precision::fp16),
      distillation_(options_, student_, teacher_ ? &*teacher_ : nullptr, device),
      communicator_(make_communicator(session, device)),
      watched_communicator_(watchdog_.watch(*communicator_)),
      share_(micro_batch_share(options.micro_batches_per_step(), session.rank(), session.size())),
      job_clock_(time_limit_of(session, options), variable("SLURM_JOB_ID")) {
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
  if (eval_set_) {
    check_same_classes(session, train_set_, *eval_set_, mismatch_of(options));
  }
  if (teacher_) {
    check_classes_of_weights(session, options_.teacher_path, train_set_, mismatch_of(options));
    spdlog::info("{}", describe_teacher(options_, teacher_->options()));
    tell(session, teacher_->told());
  }
  state_.model = describe_model(options.student);
  state_.data_set_id = train_set_.set_id();
  const bool hashes = teacher_.has_value() && session.rank() == 0;
  state_.teacher_sha256 = session.broadcast(hashes ? sha256_of_file(options_.teacher_path) : "");
  state_.teacher_model = teacher_ ? describe_model(teacher_->options()) : "";
  state_.options = texts;
  state_.ranks = session.size();
  state_.threads = at::get_num_threads();
  state_.device = device.is_cuda() ? "cuda" : "cpu";
  if (options.ema_decay > 0) {
    average_.emplace(parameters_, options.ema_decay);
  }
  if (!resume()) {
    begin();
  }
  // The same formula gives the same numbers on machines of one kind only: all ranks take rank 0's.
  at::Tensor values = parameters_.values();
  communicator_->broadcast(values, 0);
  if (average_) {
    at::Tensor averages = average_->values();
    communicator_->broadcast(averages, 0);
  }
  start_staging();
  start_loader();
  saver_ = std::make_unique<BackgroundSaver>(folder_.lease(), folder_.workshop(), folder_.checkpoints(),
                                             RetentionOptions{options.keep_checkpoints});
  show_status("starting");
}

Trainer::~Trainer() = default;

bool Trainer::resume() {
  session_.activity().now("taking up a checkpoint", Activity::Pace::slow);
  // Rank 0 chooses and verifies; the others read the same one.
  std::string chosen;
  std::optional<LoadedCheckpoint> checkpoint;
  if (session_.rank() == 0) {
    // A job that comes back with its old command goes on where it was, whatever it began with.
    const bool comes_back = folder_.lease()->owner().restarts > 0 && !list_checkpoints(folder_.checkpoints()).empty();
    if (options_.resume == "auto" || comes_back) {
      sweep_unfinished(folder_.checkpoints());
      checkpoint = find_newest_checkpoint(
          folder_.checkpoints(), [](const std::string& damage) { spdlog::warn("{}; trying the one before", damage); });
    } else if (options_.resume == "none") {
      if (!list_checkpoints(folder_.checkpoints()).empty()) {
        throw usage_error(
            fmt::format("{} holds checkpoints of a run, and --resume is none", folder_.checkpoints().string()),
            "go on with --resume auto, or choose another --output-dir");
      }
    } else {
      checkpoint = load_checkpoint(options_.resume);
      const std::filesystem::path newest = list_checkpoints(folder_.checkpoints()).empty()
                                               ? checkpoint->path
                                               : list_checkpoints(folder_.checkpoints()).back();
      if (!std::filesystem::equivalent(newest, checkpoint->path)) {
        throw usage_error(
            fmt::format("--resume {}: {} is newer and would stand in the way", options_.resume, newest.string()),
            "take another --output-dir, or move what is newer away");
      }
    }
    chosen = checkpoint ? checkpoint->path.string() : "";
  }
  folder_.begin_with(std::filesystem::path(chosen).filename().string());
  chosen = session_.broadcast(chosen);
  if (session_.rank() == 0) {
    try {
      check_free_space(options_.output_dir, bytes_of_state());
    } catch (const Error& error) {
      if (chosen.empty()) {
        throw;
      }
      spdlog::warn("{}; {}", error.what(), error.hint());  // as when it happens under way
    }
  }
  if (chosen.empty()) {
    return false;
  }
  take_up(checkpoint ? *checkpoint : load_what_rank_0_has(chosen));
  return true;
}

void Trainer::begin() {
  if (options_.finetune.empty() || options_.reinit_head) {
    session_.activity().now("drawing the first weights", Activity::Pace::slow);
    student_.initialise(options_.seed);
  }
  if (!options_.finetune.empty()) {
    const std::filesystem::path file = found_by_rank_0(session_, options_.finetune, "--finetune: ");
    tell(session_, student_.load(read_safetensors(file).tensors, file.string(), {.reinit_head = options_.reinit_head}));
    if (!options_.reinit_head) {
      check_classes_of_weights(session_, file, train_set_, mismatch_of(options_),
                               "--reinit-head begins with a new head; or ");
    }
  }
  if (average_) {
    average_.emplace(parameters_, options_.ema_decay);
  }
}

void Trainer::take_up(const LoadedCheckpoint& checkpoint) {
  if (const auto metadata = checkpoint.metadata.find("model"); metadata != checkpoint.metadata.end()) {
    check_classes_of_checkpoint(checkpoint.path, class_names_in(metadata->second), train_set_);
  }
  const RunState before = parse_run_state(checkpoint.state_json, (checkpoint.path / "state.json").string());
  for (const std::string& change : compare_runs(before, state_)) {
    spdlog::log(session_.rank() == 0 ? spdlog::level::warn : spdlog::level::info, "{}", change);
  }
  const auto group = [&](const char* name) -> const std::map<std::string, at::Tensor>& {
    const auto found = checkpoint.groups.find(name);
    if (found == checkpoint.groups.end()) {
      throw usage_error(fmt::format("{} has no {}.safetensors", checkpoint.path.string(), name),
                        "it is no training checkpoint");
    }
    return found->second;
  };
  parameters_.copy_named(group("model"), "", parameters_.values());
  optimizer_.load_state(group("optimizer"));
  if (average_) {
    parameters_.copy_named(group("ema"), "", average_->values());
  }
  scaler_.restore(before.loss_scale, before.good_steps);
  const std::int64_t begun = before.epoch + (before.step > 0 ? 1 : 0);
  if (begun > options_.schedule.epochs) {
    throw usage_error(fmt::format("--epochs {}: the run is in its epoch {} already", options_.schedule.epochs, begun),
                      fmt::format("give at least {}", begun));
  }
  RunState now = before;
  now.options = state_.options;
  now.ranks = state_.ranks;
  now.threads = state_.threads;
  now.device = state_.device;
  if (checkpoint.path.parent_path() != std::filesystem::weakly_canonical(folder_.checkpoints())) {
    now.best = {};  // that checkpoint lies elsewhere
  }
  state_ = std::move(now);
  on_disk_ = position();
  spdlog::info("going on from {}: epoch {}, step {} of {}", checkpoint.path.string(), state_.epoch, state_.step,
               sampler_.steps_per_epoch());
  bool best_is_there = false;
  if (session_.rank() == 0) {
    // A kill between a save and what follows it leaves these behind.
    for (const bool evaluated : {true, false}) {  // by a run without, or from before there was, a name of its own
      const std::filesystem::path best = checkpoint_path(folder_.checkpoints(), state_.best.step, evaluated);
      if (state_.best.step >= 0 && std::filesystem::exists(best)) {
        best_is_there = true;
        try {
          mark_best(*folder_.lease(), folder_.checkpoints(), best);
        } catch (const Fenced&) {
          throw;
        } catch (const Error& error) {
          spdlog::warn("{}; {}", error.what(), error.hint());
        }
        break;
      }
    }
    folder_.write_log(state_.history);
    status_.last_checkpoint = checkpoint.path.filename().string();
  }
  if (!session_.any(best_is_there)) {
    state_.best = {};
  }
  best_on_disk_ = state_.best;
}

void Trainer::start_staging() {
  if (options_.stage_to.empty()) {
    return;
  }
  const StagingOptions staging = {options_.stage_to, options_.stage_leave_free, session_.local_rank(),
                                  session_.local_size()};
  train_staging_.emplace(train_set_, staging);
  if (eval_set_) {
    eval_staging_.emplace(*eval_set_, staging);
  }
}

void Trainer::start_loader() {
  LoaderOptions loading;
  loading.seed = options_.seed;
  loading.augment = options_.augment;
  loading.num_workers = options_.num_workers;
  // An image is decoded once where its repeats are open together.
  loading.prefetch = options_.micro_batches_ahead(share_.last - share_.first);
  loading.open_together = std::min(options_.sharing_micro_batches(share_.last - share_.first), loading.prefetch);
  loading.on_record = beats_of(session_);
  loading.bad_records_limit = options_.bad_records_limit;
  loading.device = device_;
  loading.raw_crops = options_.augment_on_gpu;
  loader_ = std::make_unique<Loader>(
      train_set_, loading,
      [source = MicroBatchSource(sampler_, share_, options_.schedule.epochs, state_.epoch, state_.step)]() mutable {
        return source.next();
      });
}

}  // namespace maskedkd
