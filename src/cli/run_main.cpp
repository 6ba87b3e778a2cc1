#include "maskedkd/cli/run_main.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/base/lost_mapping.hpp"
#include "maskedkd/comm/core_binding.hpp"
#include "maskedkd/comm/mpi_session.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
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
};

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
    result.line = error.what();
    result.line = result.line.substr(0, result.line.find('\n'));  // LibTorch appends its stack
  } catch (...) {
    result.line = "something was thrown that is no exception of the standard library";
  }
  return result;
}

constexpr const char* kMemoryHint = "; use a smaller --micro-batch, fewer workers or fewer ranks a node";

void set_up_process() {
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
        return end.code;
      }
      session.abort(end.code);
    }
  } catch (...) {  // before there was a session
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
