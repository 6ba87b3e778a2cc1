#include "maskedkd/data/loader.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/philox.hpp"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

namespace maskedkd {
namespace {

// One image of a batch into its place.
void load_image(const ShardSet& set, const LoaderOptions& options, const BatchRequest& request, std::size_t position,
                std::span<std::uint8_t> out, MicroBatch& batch) {
  const std::int64_t index = request.indices[position];
  const Record record = set.read(index);
  batch.labels.mutable_data_ptr<std::int64_t>()[position] = record.label;
  ImageRegion image;
  try {
    image = decode_record_region(record, set.encoding(), {0, 0, record.shape.height, record.shape.width});
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", set.describe(index), error.what()), "pack the images again", error.code(),
                error.where());
  }
  if (!options.training) {
    apply_evaluation_plan(plan_evaluation(image.part.height, image.part.width, options.augment), image, out);
    return;
  }
  RandomAddress address{options.seed, RandomPurpose::augmentation, request.epoch,
                        request.step, request.micro_batch,         static_cast<std::uint32_t>(position)};
  PhiloxStream random(address);
  const TrainingPlan plan = draw_training_plan(random, image.part.height, image.part.width, options.augment);
  apply_training_plan(plan, image, options.augment.input_size, out);
  address.purpose = RandomPurpose::erasing_noise;
  for (const PixelBox& box : plan.erase) {
    Erasure erasure{box, std::vector<float>(static_cast<std::size_t>(3) * box.height * box.width)};
    std::vector<Erasure>& erasures = batch.erasures[position];
    fill_erasure(options.augment.erasing_mode, address, static_cast<std::uint32_t>(erasures.size()), erasure.noise);
    erasures.push_back(std::move(erasure));
  }
}

MicroBatch load_batch(const ShardSet& set, const LoaderOptions& options, BatchRequest request) {
  const auto size = static_cast<std::int64_t>(request.indices.size());
  const std::int64_t side = options.augment.input_size;
  MicroBatch batch;
  batch.images =
      at::empty({size, side, side, 3}, at::TensorOptions().dtype(at::kByte).pinned_memory(options.pin_memory));
  batch.labels = at::empty({size}, at::kLong);
  batch.erasures.resize(options.training ? request.indices.size() : 0);
  std::uint8_t* pixels = batch.images.mutable_data_ptr<std::uint8_t>();
  const auto image_bytes = static_cast<std::size_t>(side * side * 3);
  for (std::size_t position = 0; position < request.indices.size(); ++position) {
    load_image(set, options, request, position, {pixels + position * image_bytes, image_bytes}, batch);
  }
  batch.request = std::move(request);
  return batch;
}

}  // namespace

// Workers take tickets in order, one micro-batch each; `ready` holds what is finished until its turn comes.
struct Loader::State {
  struct Outcome {
    MicroBatch batch;
    std::exception_ptr failure;
  };

  const ShardSet& set;
  const LoaderOptions options;
  const RequestSource next_request;

  std::mutex mutex;
  std::condition_variable room;      // a ticket may be taken, or all is over
  std::condition_variable finished;  // something was added to `ready`, or the end is known
  std::int64_t num_taken = 0;
  std::int64_t num_handed_out = 0;
  bool exhausted = false;  // no more requests
  bool stopping = false;
  std::map<std::int64_t, Outcome> ready;
  double seconds_waited = 0;
  std::vector<std::thread> workers;

  State(const ShardSet& shards, LoaderOptions loader_options, RequestSource source)
      : set(shards), options(std::move(loader_options)), next_request(std::move(source)) {}

  void work() {
    std::unique_lock lock(mutex);
    for (;;) {
      room.wait(lock, [&] { return stopping || exhausted || num_taken - num_handed_out < options.prefetch; });
      if (stopping || exhausted) {
        return;
      }
      Outcome outcome;
      std::optional<BatchRequest> request;
      const std::int64_t ticket = num_taken;
      try {
        request = next_request();
        if (!request) {
          exhausted = true;
          room.notify_all();
          finished.notify_all();
          return;
        }
        ++num_taken;
        lock.unlock();
        outcome.batch = load_batch(set, options, std::move(*request));
        lock.lock();
      } catch (...) {
        if (!lock.owns_lock()) {
          lock.lock();
        } else {  // the source itself failed: this ticket is the last
          ++num_taken;
          exhausted = true;
        }
        outcome.failure = std::current_exception();
      }
      ready.emplace(ticket, std::move(outcome));
      finished.notify_all();
    }
  }
};

Loader::Loader(const ShardSet& set, LoaderOptions options, RequestSource next_request)
    : state_(std::make_unique<State>(set, std::move(options), std::move(next_request))) {
  if (state_->options.num_workers < 1 || state_->options.prefetch < 1) {
    throw usage_error(fmt::format("--workers {} and --prefetch {} must be at least 1", state_->options.num_workers,
                                  state_->options.prefetch));
  }
  for (int worker = 0; worker < state_->options.num_workers; ++worker) {
    state_->workers.emplace_back([state = state_.get()] { state->work(); });
  }
}

Loader::~Loader() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->room.notify_all();
  for (std::thread& worker : state_->workers) {
    worker.join();
  }
}

std::optional<MicroBatch> Loader::next() {
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  const auto has_come = [&] { return state.ready.count(state.num_handed_out) != 0; };
  const auto began = std::chrono::steady_clock::now();
  state.finished.wait(lock, [&] { return has_come() || (state.exhausted && state.num_handed_out == state.num_taken); });
  state.seconds_waited += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (!has_come()) {
    return std::nullopt;
  }
  State::Outcome outcome = std::move(state.ready.at(state.num_handed_out));
  state.ready.erase(state.num_handed_out);
  ++state.num_handed_out;
  lock.unlock();
  state.room.notify_all();
  if (outcome.failure) {
    std::rethrow_exception(outcome.failure);
  }
  return std::move(outcome.batch);
}

double Loader::seconds_waited() const noexcept {
  const std::lock_guard lock(state_->mutex);
  return state_->seconds_waited;
}

}  // namespace maskedkd
