#include "maskedkd/train/run_data.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/train/class_check.hpp"

namespace maskedkd {
namespace {

// Opening a set may take long: there may be thousands of shards on a slow disk.
std::function<void()> beats_of(const MpiSession& session) {
  return [&session] { session.activity().beat(); };
}

}  // namespace

ShardSet open_set(const MpiSession& session, const std::filesystem::path& directory) {
  if (session.rank() == 0) {
    ShardSet set(directory, beats_of(session));
    session.broadcast(session.size() > 1 ? set.to_bytes() : "");
    return set;
  }
  return ShardSet::from_bytes(directory, session.broadcast(""));
}

RunData::RunData(const MpiSession& session, const TrainOptions& options)
    : train_(open_set(session, options.data_path)) {
  if (!options.eval_data_path.empty()) {
    evaluation_.emplace(open_set(session, options.eval_data_path));
    check_same_classes(train_, *evaluation_, on_mismatch(options.ignore_class_names));
  }
  if (train_.num_classes() > options.student.num_classes) {
    throw usage_error(fmt::format("{} has {} classes, the student {}", train_.directory().string(),
                                  train_.num_classes(), options.student.num_classes),
                      fmt::format("give at least --num-classes {}, or leave it out", train_.num_classes()));
  }
}

void RunData::start_staging(const MpiSession& session, const TrainOptions& options) {
  if (options.stage_to.empty()) {
    return;
  }
  const StagingOptions staging = {options.stage_to, options.stage_leave_free, session.local_rank(),
                                  session.local_size()};
  train_staging_.emplace(train_, staging);
  if (evaluation_) {
    evaluation_staging_.emplace(*evaluation_, staging);
  }
}

}  // namespace maskedkd
