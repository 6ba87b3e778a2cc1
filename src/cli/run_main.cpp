#include "maskedkd/cli/run_main.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/comm/mpi_session.hpp"

#include <chrono>
#include <cstring>
#include <string>
#include <thread>

namespace maskedkd {
namespace {

// How long the other ranks let rank 0 speak first: a mistake that all make is said once, one that a single rank makes
// is still said by that rank.
constexpr auto kLetRankZeroSpeak = std::chrono::milliseconds(700);

void say(const std::string& message, const std::string& hint, const std::string& where) {
  spdlog::error("{}{}{}", message, hint.empty() ? "" : fmt::format("; {}", hint),
                where.empty() ? "" : fmt::format(" ({})", where));
}

std::string place(const std::source_location& where) {
  const char* slash = std::strrchr(where.file_name(), '/');
  return fmt::format("{}:{}", slash != nullptr ? slash + 1 : where.file_name(), where.line());
}

}  // namespace

int run_main(int argc, char** argv, const std::function<int(const MpiSession&, int, char**)>& body) {
  try {
    const MpiSession session(argc, argv);
    set_up_log(session.rank(), session.size());
    int code = static_cast<int>(ExitCode::failure);
    std::string message, hint, where;
    try {
      return body(session, argc, argv);
    } catch (const Error& error) {
      message = error.what();
      hint = error.hint();
      // A wrong flag is the user's to mend, whatever line noticed it.
      where = error.code() == ExitCode::usage ? "" : place(error.where());
      code = static_cast<int>(error.code());
    } catch (const std::bad_alloc&) {
      message = "out of memory";
      hint = "use a smaller --micro-batch, fewer workers or fewer ranks a node";
    } catch (const std::exception& error) {
      message = error.what();
      message = message.substr(0, message.find('\n'));  // LibTorch appends its stack
    }
    if (session.rank() != 0) {
      std::this_thread::sleep_for(kLetRankZeroSpeak);
    }
    say(message, hint, where);
    if (session.size() == 1) {
      return code;
    }
    session.abort(code);
  } catch (const Error& error) {  // before there was a session
    say(error.what(), error.hint(), "");
    return static_cast<int>(error.code());
  }
}

}  // namespace maskedkd
