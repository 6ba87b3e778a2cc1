#include "maskedkd/checkpoint/background_saver.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/running_clock.hpp"

#include <chrono>
#include <utility>

namespace maskedkd {
namespace {

std::string one_line(const Error& error) {
  return error.hint().empty() ? std::string(error.what()) : fmt::format("{}; {}", error.what(), error.hint());
}

}  // namespace

BackgroundSaver::BackgroundSaver(const Lease* lease, std::filesystem::path staging_folder, std::filesystem::path root,
                                 const RetentionOptions& retention)
    : lease_(lease), staging_folder_(std::move(staging_folder)), root_(std::move(root)), retention_(retention) {}

BackgroundSaver::~BackgroundSaver() {
  cancel();
  if (running_.valid()) {
    running_.wait();
  }
}

bool BackgroundSaver::busy(std::chrono::milliseconds timeout) const {
  return running_.valid() && running_.wait_for(timeout) != std::future_status::ready;
}

void BackgroundSaver::start(CheckpointContent content, bool is_best) {
  if (busy()) {
    throw Error("a checkpoint is still being saved");
  }
  cancelled_ = false;
  running_ =
      std::async(std::launch::async, [this, content = std::move(content), is_best] { return save(content, is_best); });
}

void BackgroundSaver::cancel() noexcept { cancelled_ = true; }

std::optional<SaveResult> BackgroundSaver::take_result() { return busy() ? std::nullopt : wait(); }

std::optional<SaveResult> BackgroundSaver::wait() {
  return running_.valid() ? std::optional(running_.get()) : std::nullopt;
}

SaveResult BackgroundSaver::save(const CheckpointContent& content, bool is_best) {
  const auto began = RunningClock::now();
  SaveResult result;
  try {
    if (content.wait_for_tensors) {
      content.wait_for_tensors();
    }
    if (lease_ == nullptr) {
      save_checkpoint_part(staging_folder_, content);
    } else {
      result.path = save_checkpoint(*lease_, root_, content, &cancelled_);
      if (is_best) {
        best_ = result.path;
      }
      if (!best_.empty()) {  // tried until it works: retention removes a best one that is not marked
        mark_best(*lease_, root_, best_);
        best_.clear();
      }
      retain_checkpoints(*lease_, root_, retention_, &verified_);
    }
  } catch (const Fenced& error) {
    result.error = one_line(error);
    result.fenced = true;
  } catch (const Error& error) {
    result.error = one_line(error);
  } catch (const std::exception& error) {  // out of memory, ...
    result.error = fmt::format("can't save a checkpoint in {}: {}", root_.string(), error.what());
  }
  result.seconds = std::chrono::duration<double>(RunningClock::now() - began).count();
  return result;
}

}  // namespace maskedkd
