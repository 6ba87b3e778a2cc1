#include "maskedkd/train/run_folder.hpp"

#include "maskedkd/base/log.hpp"
#include "maskedkd/checkpoint/run_layout.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/train/stop_signal.hpp"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>

namespace maskedkd {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFinishedName = "finished.json";
constexpr int kMaxRestartsWithoutCheckpoint = 3;

constexpr auto kMainThreadTimeout = std::chrono::seconds(10);

// nullopt: there is no finished.json, or a power cut left only a part of it.
std::optional<nlohmann::json> read_mark(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_regular_file(folder / kFinishedName, ignored)) {
    return std::nullopt;
  }
  try {
    auto mark = nlohmann::json::parse(read_text_file(folder / kFinishedName));
    const bool is_mark = mark.at("epochs").is_number_integer() && mark.at("global_step").is_number_integer() &&
                         mark.at("checkpoint").is_string() && mark.at("options").is_object();
    return is_mark ? std::optional(std::move(mark)) : std::nullopt;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

}  // namespace

bool is_finished(const MpiSession& session, const TrainOptions& options, const OptionTexts& texts) {
  std::string message;
  const bool was_restarted = this_process("").restarts > 0;  // by the cluster, with its original command
  if (session.rank() == 0 && (options.resume == "auto" || was_restarted)) {
    const auto mark = read_mark(options.output_dir);
    if (mark && mark->at("epochs").get<std::int64_t>() >= options.schedule.epochs) {
      OptionTexts before;
      for (const auto& [name, value] : mark->at("options").items()) {
        before.push_back({name, value.is_string() ? value.get<std::string>() : ""});
      }
      refuse_fixed_changes(before, texts);
      message = fmt::format("{} is finished: {} epochs, {} steps, {}", options.output_dir.string(),
                            mark->at("epochs").get<std::int64_t>(), mark->at("global_step").get<std::int64_t>(),
                            mark->at("checkpoint").get<std::string>());
      std::error_code ignored;
      if (!fs::exists(options.output_dir / kCheckpointsFolder / mark->at("checkpoint").get<std::string>(), ignored)) {
        message += ", which no longer exists";
      }
      spdlog::info("{}", message);
      for (const std::string& change : changed_options(before, texts, {OnResume::reported, OnResume::compared})) {
        spdlog::warn("{}, which has no effect: the run is finished; choose another --output-dir to train with it",
                     change);
      }
    }
  }
  return !session.broadcast(message).empty();
}

RunFolder::RunFolder(const MpiSession& session, const fs::path& folder)
    : folder_(folder), checkpoints_(folder / kCheckpointsFolder) {
  if (session.rank() == 0) {
    LeaseOptions options;
    options.give_up = stop_requested;
    const LeaseOwner owner = this_process("maskedkd_train");
    try {
      lease_.emplace(folder, owner, options, [](const std::string& line) { spdlog::info("{}", line); });
    } catch (const InUse&) {
      throw;
    } catch (const Error& error) {
      // A restarted job must not be lost because the disk is full for now.
      if (owner.restarts == 0) {
        throw;
      }
      throw Error(error.what(), error.hint(), ExitCode::requeue, error.where());
    }
    lease_->start_heartbeat([this](const Error& error) { end_fenced(error); }, [this] { write_status(); });
  }
  staging_folder_ = session.broadcast(lease_ ? lease_->staging_folder().string() : "");
}

RunFolder::~RunFolder() {
  if (!lease_) {
    return;
  }
  std::optional<RunStatus> status;
  {
    const std::lock_guard lock(mutex_);
    status = status_;
    ending_ = true;
  }
  ended_.notify_all();
  if (status) {  // end() was not called
    status->state = "failed";
    try {
      end(*status);
    } catch (const std::exception&) {
      // The error that led here is being reported already.
    }
  }
  lease_.reset();  // its thread uses the members that are destroyed before it
}

void RunFolder::check_lease() const {
  if (lost_) {
    lease_->check();
  }
}

// The main thread ends the other ranks as well; if it hangs in a dead network, this thread ends the process.
void RunFolder::end_fenced(const Error& error) {
  lost_ = true;
  std::unique_lock lock(mutex_);
  if (ended_.wait_for(lock, kMainThreadTimeout, [this] { return ending_; })) {
    return;
  }
  spdlog::error("{}; {}", error.what(), error.hint());
  spdlog::default_logger_raw()->flush();
  std::_Exit(static_cast<int>(error.code()));
}

void RunFolder::record_start(const std::string& checkpoint) {
  if (!lease_) {
    return;
  }
  const LeaseNote& before = lease_->previous();
  LeaseNote note;
  note.resumed_from = checkpoint;
  const bool resumed_from_same = lease_->generation() > 1 && before.resumed_from == checkpoint;
  const bool is_restart = lease_->owner().restarts > 0;
  if (is_restart && resumed_from_same) {
    const bool was_asked_to_end = before.ended == "stopped" || before.ended == "finished";
    note.restarts_without_checkpoint = before.restarts_without_checkpoint + (was_asked_to_end ? 0 : 1);
  }
  lease_->write_note(note);
  if (note.restarts_without_checkpoint > kMaxRestartsWithoutCheckpoint) {
    throw Error(fmt::format("{} restarts in a row ended without a new checkpoint; each resumed from {}",
                            kMaxRestartsWithoutCheckpoint, checkpoint.empty() ? "nothing" : checkpoint),
                "find out why they ended, then submit the job again", ExitCode::no_requeue);
  }
}

void RunFolder::set_status(const RunStatus& status) {
  if (lease_) {
    const std::lock_guard lock(mutex_);
    status_ = status;
  }
}

void RunFolder::write_status() const {
  const std::lock_guard one_at_a_time(writing_);
  RunStatus status;
  {
    const std::lock_guard lock(mutex_);
    if (!status_) {
      return;
    }
    status = *status_;
  }
  const LeaseOwner& owner = lease_->owner();
  const nlohmann::ordered_json json = {{"state", status.state},
                                       {"epoch", status.epoch},
                                       {"epochs", status.epochs},
                                       {"step", status.step},
                                       {"steps", status.steps},
                                       {"images_per_second", std::round(10 * status.images_per_second) / 10},
                                       {"eta_s", static_cast<std::int64_t>(status.eta_s)},
                                       {"last_checkpoint", status.last_checkpoint},
                                       {"last_checkpoint_time", status.last_checkpoint_time},
                                       {"restarts", owner.restarts},
                                       {"generation", lease_->generation()},
                                       {"host", owner.host},
                                       {"job", owner.job},
                                       {"time", static_cast<std::int64_t>(std::time(nullptr))}};
  lease_->put_text(json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n",
                   folder_ / "status.json");
}

void RunFolder::write_log(const std::vector<std::string>& history) const {
  if (lease_) {
    std::string text;
    for (const std::string& line : history) {
      text += line + "\n";
    }
    try {
      lease_->put_text(text, folder_ / "log.txt");
    } catch (const Fenced&) {
      throw;
    } catch (const Error& error) {  // every checkpoint contains it too
      spdlog::warn("{}; {}; it will be written again at the end of the next epoch", error.what(), error.hint());
    }
  }
}

void RunFolder::write_finished(const RunState& state, const std::string& checkpoint) const {
  if (!lease_) {
    return;
  }
  nlohmann::ordered_json options = nlohmann::ordered_json::object();
  for (const OptionText& option : state.options) {
    options[option.name] = option.text;
  }
  const nlohmann::ordered_json json = {
      {"epochs", state.epoch}, {"global_step", state.global_step}, {"checkpoint", checkpoint}, {"options", options}};
  lease_->put_text(json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n",
                   folder_ / kFinishedName);
}

void RunFolder::end(const RunStatus& status, bool without_progress) {
  if (!lease_) {
    return;
  }
  set_status(status);
  try {
    write_status();
  } catch (const Fenced&) {
    throw;
  } catch (const Error&) {
    // A full disk must not end the run: the status is only informative.
  }
  {
    const std::lock_guard lock(mutex_);
    status_.reset();
  }
  lease_->release(without_progress ? "in vain" : status.state);
}

}  // namespace maskedkd
