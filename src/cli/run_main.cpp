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

// How long the other ranks let rank 0 speak first: a mistake that all make is said once, one that a single rank makes
// is still said by that rank.
constexpr auto kLetRankZeroSpeak = std::chrono::milliseconds(2000);

// How a program ends that threw.
struct Ending {
  int code = static_cast<int>(ExitCode::failure);
  std::string line;
  bool gpu_failed = false;
};

// The session's, for the end of a process whose destructors fail.
const MpiSession* current_session = nullptr;

std::string first_line(const std::exception& error) {  // LibTorch appends its stack
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

// A GPU that broke, as LibTorch tells it: all that it is asked from then on fails the same way.
Ending ending_of_gpu(const std::exception& error) {
  std::string name = "a GPU", doing;
  if (current_session != nullptr) {
    name = current_session->device_name().empty() ? name : current_session->device_name();
    doing = current_session->activity().read().text;
  }
  return {static_cast<int>(ExitCode::requeue),
          fmt::format("{} failed{}{}: {}; another start goes on from the last checkpoint; where it fails again, leave "
                      "that node out (dmesg there names the Xid)",
                      name, doing.empty() ? "" : " at ", doing, first_line(error)),
          /*gpu_failed=*/true};
}

std::string place(const std::source_location& where) {
  const char* slash = std::strrchr(where.file_name(), '/');
  return fmt::format("{}:{}", slash != nullptr ? slash + 1 : where.file_name(), where.line());
}

// Of the exception that is being handled. memory_hint: what to do where memory ran out.
Ending ending(const char* memory_hint) {
  Ending result;
  try {
    throw;
  } catch (const Error& error) {
    result.code = static_cast<int>(error.code());
    // A wrong flag is the user's to mend, whatever line noticed it.
    result.line = fmt::format("{}{}{}{}", error.what(), error.hint().empty() ? "" : "; ", error.hint(),
                              error.code() == ExitCode::usage ? "" : fmt::format(" ({})", place(error.where())));
  } catch (const std::bad_alloc&) {
    result.line = fmt::format("out of memory{}", memory_hint);
  } catch (const std::exception& error) {
    switch (kind_of_failure(error.what())) {
      case DeviceFailure::gpu:
        return ending_of_gpu(error);
      case DeviceFailure::memory:
        result.line = first_line(error) + memory_hint;
        break;
      default:
        result.line = first_line(error);
    }
  } catch (...) {
    result.line = "something was thrown that is no exception of the standard library";
  }
  return result;
}

constexpr const char* kMemoryHint =
    "; use a smaller --micro-batch or --eval-batch, fewer workers or fewer ranks a node";

// Ends at once: what would be destroyed asks the GPU again, fails again, and ends the process with SIGABRT.
[[noreturn]] void end_now(int code) {
  spdlog::default_logger_raw()->flush();
  std::_Exit(code);
}

// Where a destructor threw, or a thread that nobody asks how it ended: LibTorch's tensors in pinned memory ask the GPU
// when they are destroyed, also while the first error of a GPU that broke is on its way to run_main.
[[noreturn]] void end_of_what_nobody_catches() {
  static std::atomic_flag others_wait;
  while (others_wait.test_and_set()) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
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
  std::set_terminate(end_of_what_nobody_catches);
  set_up_log(0, 1);               // until the rank is known
  std::signal(SIGXFSZ, SIG_IGN);  // a file past its limit is an Error of write(), not the end of the process
  say_why_on_lost_mapping();
}

// What was printed may have got no further than a buffer: a full disk behind `> FILE` shows here.
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
      const Ending end = ending(kMemoryHint);
      std::signal(SIGTERM, SIG_DFL);  // a launcher that ends the job need not wait for its patience to run out
      if (session.rank() != 0) {
        std::this_thread::sleep_for(kLetRankZeroSpeak);
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
  } catch (...) {  // before there was a session
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
