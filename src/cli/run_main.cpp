#include "maskedkd/cli/run_main.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/base/lost_mapping.hpp"
#include "maskedkd/comm/core_binding.hpp"
#include "maskedkd/comm/gpu_failure.hpp"
#include "maskedkd/comm/mpi_session.hpp"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <thread>

namespace maskedkd {
namespace {

// How long the other ranks wait so that rank 0 prints first and ends the job: a mistake of all ranks is printed once,
// one of a single rank is still printed by that rank.
constexpr auto kRankZeroFirst = std::chrono::milliseconds(2000);

// How a program ends after an exception.
struct Ending {
  int code = static_cast<int>(ExitCode::failure);
  std::string line;
  bool gpu_failed = false;
};

// The session of run_main(), for an end that run_main() does not see.
const MpiSession* current_session = nullptr;

std::string first_line(const std::exception& error) {  // LibTorch appends its stack
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

// LibTorch's cache of a GPU's memory says how much was requested; other allocations only that there is no memory.
const char* kind_of_memory(const std::exception& error) {
  return first_line(error).find("CUDA error: out of memory") != std::string::npos
             ? " (pinned memory of the host, or a GPU that other processes use too)"
             : "";
}

// A failed GPU, as LibTorch reports it: every later call fails the same way.
Ending ending_of_gpu(const std::exception& error) {
  std::string name = "a GPU", doing;
  if (current_session != nullptr) {
    name = current_session->device_name().empty() ? name : current_session->device_name();
    doing = current_session->activity().read().text;
  }
  return {static_cast<int>(ExitCode::requeue),
          fmt::format("{} failed{}{}: {}; start again to go on from the last checkpoint; where it fails again, exclude "
                      "that node (dmesg there names the Xid)",
                      name, doing.empty() ? "" : " at ", doing, first_line(error)),
          /*gpu_failed=*/true};
}

std::string place(const std::source_location& where) {
  const char* slash = std::strrchr(where.file_name(), '/');
  return fmt::format("{}:{}", slash != nullptr ? slash + 1 : where.file_name(), where.line());
}

// How the exception that is being handled ends the program. memory_hint: what to do where memory ran out.
Ending ending(const char* memory_hint) {
  Ending result;
  try {
    throw;
  } catch (const Error& error) {
    result.code = static_cast<int>(error.code());
    // For a wrong flag the line of code that noticed it does not matter.
    result.line = fmt::format("{}{}{}{}", error.what(), error.hint().empty() ? "" : "; ", error.hint(),
                              error.code() == ExitCode::usage ? "" : fmt::format(" ({})", place(error.where())));
  } catch (const std::bad_alloc&) {
    result.line = fmt::format("out of memory{}", memory_hint);
  } catch (const std::exception& error) {
    switch (kind_of_failure(error.what())) {
      case DeviceFailure::gpu:
        return ending_of_gpu(error);
      case DeviceFailure::memory:
        result.line = first_line(error) + kind_of_memory(error) + memory_hint;
        break;
      default:
        result.line = first_line(error);
    }
  } catch (...) {
    result.line = "an exception of an unknown type was thrown";
  }
  return result;
}

constexpr const char* kMemoryHint =
    "; use a smaller --micro-batch or --eval-batch, fewer workers or fewer ranks a node";

// Ends without destructors: those of tensors would call the GPU again, fail, and end the process with SIGABRT.
[[noreturn]] void end_now(int code) {
  spdlog::default_logger_raw()->flush();
  std::_Exit(code);
}

// For std::terminate: a destructor threw, or a thread whose exception nobody catches. LibTorch's tensors in pinned
// memory call the GPU when they are destroyed, also while the first error of a failed GPU is on its way to run_main.
[[noreturn]] void end_uncaught() {
  static std::atomic_flag is_ending;
  while (is_ending.test_and_set()) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
  if (current_session != nullptr) {
    current_session->activity().stop_if_ended();
  }
  if (std::current_exception()) {
    const Ending end = ending(kMemoryHint);
    spdlog::error("{}", end.line);
    if (end.gpu_failed) {
      end_now(end.code);
    }
  }
  std::abort();
}

void set_up_process() {
  std::set_terminate(end_uncaught);
  set_up_log(0, 1);               // until the rank is known
  std::signal(SIGXFSZ, SIG_IGN);  // a file past its limit is an Error of write(), not the end of the process
  report_lost_mapping();
}

// Flushes standard output: a full disk behind `> FILE` shows only here.
int with_output_written(int code) {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw Error(fmt::format("can't write to standard output: {}", std::strerror(errno)));
  }
  return code;
}

}  // namespace

int run_main(int argc, char** argv, const std::function<int(const MpiSession&, int, char**)>& body) {
  set_up_process();
  try {
    const MpiSession session(argc, argv);
    set_up_log(session.rank(), session.size());
    current_session = &session;
    warn_of_crowded_cores(session);
    try {
      return with_output_written(body(session, argc, argv));
    } catch (...) {
      session.activity().stop_if_ended();
      const Ending end = ending(kMemoryHint);
      std::signal(SIGTERM, SIG_DFL);  // so that a launcher can end this rank before its own timeout
      if (session.rank() != 0) {
        std::this_thread::sleep_for(kRankZeroFirst);
      }
      spdlog::error("{}", end.line);
      if (session.size() == 1) {
        current_session = nullptr;
        if (end.gpu_failed) {
          end_now(end.code);
        }
        return end.code;
      }
      session.abort(end.code);
    }
  } catch (...) {  // MPI could not be started
    current_session = nullptr;
    const Ending end = ending(kMemoryHint);
    spdlog::error("{}", end.line);
    return end.code;
  }
}

int run_main(int argc, char** argv, const std::function<int(int, char**)>& body) {
  set_up_process();
  try {
    return with_output_written(body(argc, argv));
  } catch (...) {
    const Ending end = ending("");
    spdlog::error("{}", end.line);
    return end.code;
  }
}

}  // namespace maskedkd
