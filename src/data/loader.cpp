#include "maskedkd/data/loader.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/base/running_clock.hpp"
#include "record_images.hpp"

#include <ATen/ops/empty.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>

namespace maskedkd {
namespace {

// To ThreadSanitizer every reuse is a race, as it does not see the reference counts of LibTorch, built without it.
#ifdef __SANITIZE_THREAD__
constexpr bool kReusesMemory = false;
#else
constexpr bool kReusesMemory = true;
#endif

// Reuses the memory of micro-batches that nothing refers to any more: fresh pages would cost as much as a resampling.
// For pinned memory LibTorch's allocator does this itself, and takes copies in progress into account.
class BatchMemory {
 public:
  // At least so many bytes.
  at::Tensor get(std::int64_t num_bytes, bool pinned) {
    for (const at::Tensor& tensor : pool_) {
      if (!pinned && tensor.use_count() == 1 && tensor.storage().use_count() == 1 && tensor.numel() >= num_bytes) {
        std::atomic_thread_fence(std::memory_order_acquire);  // the last reader's reads come before the next writes
        return tensor;
      }
    }
    const std::int64_t rounded = (num_bytes + kUnit - 1) / kUnit * kUnit;
    at::Tensor fresh = at::empty({rounded}, at::TensorOptions().dtype(at::kByte).pinned_memory(pinned));
    if (kReusesMemory && !pinned && pool_.size() < capacity_) {
      pool_.push_back(fresh);
    }
    return fresh;
  }
  void set_capacity(std::size_t count) { capacity_ = count; }

 private:
  static constexpr std::int64_t kUnit = 1 << 20;  // more than batches of one run differ by
  std::vector<at::Tensor> pool_;
  std::size_t capacity_ = 0;
};

struct OpenBatch {
  MicroBatch batch;
  std::unique_ptr<CropMemory> crop_memory;  // with raw_crops
  std::size_t num_missing = 0;              // images that are not made yet
  std::exception_ptr failure;
};

// A record and the places that need an image of it.
struct Task {
  std::int64_t record = 0;
  std::vector<std::pair<std::shared_ptr<OpenBatch>, std::size_t>> places;
};

}  // namespace

struct Loader::State {
  const ShardSet& set;
  const LoaderOptions options;
  const RequestSource next_request;

  mutable std::mutex mutex;
  std::condition_variable work_available;  // for workers: a task, space for more, or the end
  std::condition_variable front_ready;     // for next()
  bool opening = false;                    // a worker is making requests
  bool exhausted = false;                  // no more requests
  bool stopping = false;
  std::deque<std::shared_ptr<OpenBatch>> open;  // in the order of the requests
  std::deque<std::shared_ptr<Task>> tasks;      // not yet started, in the order of their first place
  std::unordered_map<std::int64_t, std::shared_ptr<Task>> task_of;  // record -> its task in `tasks`
  BatchMemory memory;
  std::set<std::int64_t> bad_records;
  Counts counts;
  std::vector<std::thread> workers;

  State(const ShardSet& shards, LoaderOptions loader_options, RequestSource source)
      : set(shards), options(std::move(loader_options)), next_request(std::move(source)) {
    memory.set_capacity(static_cast<std::size_t>(options.prefetch) + 2);
  }

  bool front_is_ready() const { return open.empty() ? exhausted && !opening : open.front()->num_missing == 0; }

  bool can_open_more() const {
    const int together = std::min(options.open_together, options.prefetch);
    return !exhausted && !opening && static_cast<int>(open.size()) + together <= options.prefetch;
  }

  void end() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    work_available.notify_all();
    for (std::thread& worker : workers) {
      worker.join();
    }
  }

  void work() {
    if (options.device.is_cuda()) {  // a new thread uses GPU 0, where pinned memory would open a context
      c10::impl::VirtualGuardImpl(options.device.type()).setDevice(options.device);
    }
    RecordImages images(set, options);
    std::unique_lock lock(mutex);
    for (;;) {
      work_available.wait(lock, [&] { return stopping || exhausted || !tasks.empty() || can_open_more(); });
      if (stopping) {
        return;
      }
      if (can_open_more()) {
        open_more(lock);
      } else if (!tasks.empty()) {
        do_task(lock, images);
      } else if (exhausted) {
        return;
      }
    }
  }

  // Adds all of them at once, so that no worker starts on a record before all its places are known.
  void open_more(std::unique_lock<std::mutex>& lock) {
    opening = true;
    lock.unlock();
    std::vector<std::shared_ptr<OpenBatch>> more;
    bool is_end = false;
    for (int i = 0; i < std::min(options.open_together, options.prefetch) && !is_end; ++i) {
      auto batch = std::make_shared<OpenBatch>();
      try {
        if (std::optional<BatchRequest> request = next_request()) {
          batch->batch.request = std::move(*request);
          prepare(*batch);
        } else {
          is_end = true;
          break;
        }
      } catch (...) {  // thrown by the source: this batch is the last
        batch->failure = std::current_exception();
        batch->num_missing = 0;
        is_end = true;
      }
      more.push_back(std::move(batch));
    }
    lock.lock();
    exhausted = is_end;
    for (const std::shared_ptr<OpenBatch>& batch : more) {
      add(batch);
    }
    opening = false;
    work_available.notify_all();
    front_ready.notify_all();
  }

  StagedContents contents_of(const BatchRequest& request) const {
    StagedContents contents;
    if (options.training) {
      contents = training_contents(request, options.decisions, options.seed);
      contents.num_erasures = options.augment.erasing_probability > 0 ? options.augment.erasing_count : 0;
    }
    contents.num_images = static_cast<std::int64_t>(request.indices.size());
    contents.size = options.raw_crops ? 0 : options.augment.input_size;
    return contents;
  }

  void prepare(OpenBatch& open_batch) {
    MicroBatch& batch = open_batch.batch;
    const std::size_t size = batch.request.indices.size();
    if (options.raw_crops) {
      batch.crops.emplace();
      batch.crops->input_size = options.augment.input_size;
      batch.crops->places.resize(size);
      batch.crops->plans.resize(size);
      open_batch.crop_memory = std::make_unique<CropMemory>(*batch.crops, options.device.is_cuda());
    }
    const StagedLayout layout(contents_of(batch.request));
    batch.staged = {layout, memory.get(layout.num_bytes, options.device.is_cuda())};
    // What nobody writes, such as the space between two parts, is 0: equal micro-batches are equal bytes.
    const std::int64_t pixels_end = batch.staged.views.pixels.defined() ? batch.staged.views.pixels.numel() : 0;
    batch.staged.bytes.narrow(0, pixels_end, layout.num_bytes - pixels_end).zero_();
    if (options.training) {
      draw_decisions(batch.request, options.decisions, options.seed, options.augment.input_size, batch.staged.views);
    }
    open_batch.num_missing = size;
    for (const std::int64_t index : batch.request.indices) {
      set.will_need(index);
    }
  }

  void add(const std::shared_ptr<OpenBatch>& batch) {
    open.push_back(batch);
    const std::vector<std::int64_t>& indices = batch->batch.request.indices;
    for (std::size_t position = 0; position < indices.size() && !batch->failure; ++position) {
      std::shared_ptr<Task>& task = task_of[indices[position]];
      if (!task) {
        task = std::make_shared<Task>();
        task->record = indices[position];
        tasks.push_back(task);
      }
      task->places.emplace_back(batch, position);
    }
  }

  void do_task(std::unique_lock<std::mutex>& lock, RecordImages& images) {
    const std::shared_ptr<Task> task = std::move(tasks.front());
    tasks.pop_front();
    task_of.erase(task->record);
    lock.unlock();
    std::exception_ptr failure;
    try {
      std::vector<ImagePlace> places;
      for (const auto& [batch, position] : task->places) {
        places.push_back({batch->batch, position, batch->crop_memory.get()});
      }
      std::int64_t record = task->record;
      while (!(places = images.make(record, places)).empty()) {
        record_damage(record, images.damage());
        record = (record + 1) % set.num_records();
        if (record == task->record) {
          throw BadRecord(fmt::format("{}; and so is every other record", images.damage().what()),
                          "maskedkd_pack verify says how to repair it");
        }
      }
    } catch (...) {
      failure = std::current_exception();
    }
    if (options.on_record) {
      options.on_record();
    }
    lock.lock();
    ++counts.records_decoded;
    counts.images_made += static_cast<std::int64_t>(task->places.size());
    for (const auto& [batch, position] : task->places) {
      if (failure && !batch->failure) {
        batch->failure = failure;
      }
      if (--batch->num_missing == 0 && batch == open.front()) {
        front_ready.notify_all();
      }
    }
  }

  // Reports a damaged record once. Throws it where there are too many.
  void record_damage(std::int64_t record, const BadRecord& damage) {
    const std::lock_guard lock(mutex);
    if (stopping) {
      throw damage;  // nobody waits for the batch any more
    }
    const bool is_new = bad_records.insert(record).second;
    counts.bad_records = static_cast<std::int64_t>(bad_records.size());
    if (options.bad_records_limit == 0) {
      throw damage;
    }
    if (counts.bad_records > options.bad_records_limit) {
      throw BadRecord(fmt::format("{}; these are {} damaged records, more than --bad-records-limit {}", damage.what(),
                                  counts.bad_records, options.bad_records_limit),
                      "maskedkd_pack verify lists what is damaged, and says how to repair it");
    }
    if (is_new) {
      spdlog::warn("{}: the next record is used instead ({} damaged so far)", damage.what(), counts.bad_records);
    }
  }
};

Loader::Loader(const ShardSet& set, LoaderOptions options, RequestSource next_request)
    : state_(std::make_unique<State>(set, std::move(options), std::move(next_request))) {
  if (state_->options.num_workers < 1 || state_->options.prefetch < 1) {
    throw usage_error(fmt::format("--workers {} and --prefetch {} must be at least 1", state_->options.num_workers,
                                  state_->options.prefetch));
  }
  if (state_->options.raw_crops && !state_->options.training) {
    throw Error("raw crops are for training only");
  }
  try {
    for (int worker = 0; worker < state_->options.num_workers; ++worker) {
      state_->workers.emplace_back([state = state_.get()] { state->work(); });
    }
  } catch (const std::system_error& error) {
    state_->end();
    throw usage_error(fmt::format("{} worker threads can't be started: {}", state_->options.num_workers, error.what()),
                      "use fewer --workers");
  }
}

Loader::~Loader() { state_->end(); }

std::optional<MicroBatch> Loader::next() {
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  const auto began = RunningClock::now();
  state.front_ready.wait(lock, [&] { return state.front_is_ready(); });
  state.counts.seconds_waited += std::chrono::duration<double>(RunningClock::now() - began).count();
  if (state.open.empty()) {
    return std::nullopt;
  }
  const std::shared_ptr<OpenBatch> front = std::move(state.open.front());
  state.open.pop_front();
  lock.unlock();
  state.work_available.notify_all();
  if (front->failure) {
    std::rethrow_exception(front->failure);
  }
  return std::move(front->batch);
}

bool Loader::is_ready() const {
  const std::lock_guard lock(state_->mutex);
  return state_->front_is_ready();
}

Loader::Counts Loader::counts() const {
  const std::lock_guard lock(state_->mutex);
  return state_->counts;
}

}  // namespace maskedkd
