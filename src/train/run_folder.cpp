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
#include <thread>

namespace maskedkd {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFinishedName = "finished.json";
constexpr int kMostStartsInVain = 3;

constexpr auto kForTheMainThread = std::chrono::seconds(10);

// nullopt: there is none, or a power cut left half of one.
std::optional<nlohmann::json> read_mark(const fs::path& folder) {
  std::error_code none;
  if (!fs::is_regular_file(folder / kFinishedName, none)) {
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
  std::string told;
  const bool comes_back = this_process("").restarts > 0;  // of a job, with its old command
  if (session.rank() == 0 && (options.resume == "auto" || comes_back)) {
    const auto mark = read_mark(options.output_dir);
    if (mark && mark->at("epochs").get<std::int64_t>() >= options.schedule.epochs) {
      OptionTexts before;
      for (const auto& [name, value] : mark->at("options").items()) {
        before.push_back({name, value.is_string() ? value.get<std::string>() : ""});
      }
      refuse_fixed_changes(before, texts);
      told = fmt::format("{} is finished: {} epochs, {} steps, {}", options.output_dir.string(),
                         mark->at("epochs").get<std::int64_t>(), mark->at("global_step").get<std::int64_t>(),
                         mark->at("checkpoint").get<std::string>());
      std::error_code none;
      if (!fs::exists(options.output_dir / kCheckpointsFolder / mark->at("checkpoint").get<std::string>(), none)) {
        told += fmt::format(", which is not there any more");
      }
      spdlog::info("{}", told);
    }
  }
  return !session.broadcast(told).empty();
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
      // A job that comes back to a disk that is full for now must not be lost for it.
      if (owner.restarts == 0) {
        throw;
      }
      throw Error(error.what(), error.hint(), ExitCode::requeue, error.where());
    }
    lease_->keep_beating([this](const Error& error) { end_fenced(error); }, [this] { write_status(); });
  }
  workshop_ = session.broadcast(lease_ ? lease_->workshop().string() : "");
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
  if (status) {  // end() was not reached
    status->state = "failed";
    try {
      end(*status);
    } catch (const std::exception&) {
      // What is wrong is being told already.
    }
  }
  lease_.reset();  // its thread looks at the members that go before it
}

void RunFolder::check() const {
  if (lost_) {
    lease_->check();
  }
}

// By the main thread, which ends the other ranks as well; where it hangs in a dead network, by this one.
void RunFolder::end_fenced(const Error& error) {
  lost_ = true;
  std::unique_lock lock(mutex_);
  if (ended_.wait_for(lock, kForTheMainThread, [this] { return ending_; })) {
    return;
  }
  spdlog::error("{}; {}", error.what(), error.hint());
  spdlog::default_logger_raw()->flush();
  std::_Exit(static_cast<int>(error.code()));
}

void RunFolder::begin_with(const std::string& checkpoint) {
  if (!lease_) {
    return;
  }
  const LeaseNote& before = lease_->previous();
  LeaseNote note;
  note.began_with = checkpoint;
  const bool began_there_too = lease_->generation() > 1 && before.began_with == checkpoint;
  const bool by_itself = lease_->owner().restarts > 0;
  if (by_itself && began_there_too) {
    const bool was_asked_to_end = before.ended == "stopped" || before.ended == "finished";
    note.starts_in_vain = before.starts_in_vain + (was_asked_to_end ? 0 : 1);
  }
  lease_->write_note(note);
  if (note.starts_in_vain > kMostStartsInVain) {
    throw Error(fmt::format("{} restarts in a row ended without a new checkpoint; each went on from {}",
                            kMostStartsInVain, checkpoint.empty() ? "nothing" : checkpoint),
                "see why they ended, then submit it again", ExitCode::no_requeue);
  }
}

void RunFolder::show(const RunStatus& status) {
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
    } catch (const Error& error) {  // it is in every checkpoint too
      spdlog::warn("{}; {}; it is written again at the next epoch's end", error.what(), error.hint());
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

void RunFolder::end(const RunStatus& status, bool in_vain) {
  if (!lease_) {
    return;
  }
  show(status);
  try {
    write_status();
  } catch (const Fenced&) {
    throw;
  } catch (const Error&) {
    // A full disk: the status is only for looking at.
  }
  {
    const std::lock_guard lock(mutex_);
    status_.reset();
  }
  lease_->release(in_vain ? "in vain" : status.state);
}

}  // namespace maskedkd
