#include "faults/faulty_child.hpp"

#include "maskedkd/base/error.hpp"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <stdexcept>

namespace maskedkd::testing {
namespace {

constexpr std::int64_t kSteps = 100000;  // a mark is best * kSteps + step

void put_text(char* target, std::size_t size, const std::string& text) {
  text.copy(target, size - 1);
  target[std::min(size - 1, text.size())] = '\0';
}

int guarded(const std::function<void(Promised&)>& work, Promised& promised) {
  try {
    work(promised);
    return 0;
  } catch (const Error& error) {
    put_text(promised.message, sizeof promised.message, error.what());
    put_text(promised.hint, sizeof promised.hint, error.hint());
    promised.code = static_cast<int>(error.code());
    return 1;
  } catch (const std::exception& error) {
    put_text(promised.message, sizeof promised.message, error.what());
    return 2;
  }
}

ChildEnd run(const std::filesystem::path& root, const FaultPoint& point, const std::filesystem::path& log,
             const std::function<void(Promised&)>& work) {
  void* const page = mmap(nullptr, sizeof(Promised), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    throw std::runtime_error("no shared page");
  }
  auto* const promised = new (page) Promised;
  faults_watch(root.c_str());  // here too: checking the result need not wait for the disk
  const pid_t child = fork();
  if (child == 0) {
    if (!log.empty()) {
      faults_record(log.c_str());
    }
    faults_arm(point.kind, point.n, point.reason);
    _exit(guarded(work, *promised));
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) {
    throw std::runtime_error("no child");
  }
  ChildEnd end;
  end.killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  end.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  const faults_counts* state = faults_state();
  end.calls = state->calls;
  end.fired = state->fired;
  end.call = std::string(name_of_call(static_cast<int>(state->call))) + " " + state->path;
  end.promised = *promised;
  munmap(page, sizeof(Promised));
  return end;
}

}  // namespace

std::string FaultPoint::text() const {
  static const std::array<const char*, 9> kinds = {"nothing",     "killed before", "killed after",
                                                   "killed in",   "fails",         "fails from here on",
                                                   "short write", "full disk",     "unsupported"};
  return "call " + std::to_string(n) + ": " + kinds.at(static_cast<std::size_t>(kind)) +
         (reason != 0 ? std::string(", ") + std::strerror(reason) : "");
}

ChildEnd run_faulty(const std::filesystem::path& root, const FaultPoint& point,
                    const std::function<void(Promised&)>& work) {
  return run(root, point, {}, work);
}

ChildEnd run_recorded(const std::filesystem::path& root, const std::filesystem::path& log,
                      const std::function<void(Promised&)>& work) {
  return run(root, {}, log, work);
}

void mark_promised(const Promised& promised) {
  faults_mark(static_cast<std::uint64_t>(promised.best * kSteps + promised.step));
}

Promised promised_by(const std::vector<Operation>& operations, std::size_t num_operations) {
  Promised promised;
  for (std::size_t i = 0; i < num_operations; ++i) {
    if (operations.at(i).call == FAULTS_MARK) {
      promised.step = static_cast<std::int64_t>(operations[i].offset) % kSteps;
      promised.best = static_cast<std::int64_t>(operations[i].offset) / kSteps;
    }
  }
  return promised;
}

std::vector<FaultPoint> kill_points(const std::vector<Operation>& operations) {
  std::vector<FaultPoint> points;
  for (const Operation& operation : operations) {
    if (operation.call != FAULTS_MARK) {
      points.push_back({FAULTS_KILL_BEFORE, operation.number});
      if (operation.call == FAULTS_WRITE && operation.data.size() > 1) {
        points.push_back({FAULTS_KILL_HALF, operation.number});
      }
      points.push_back({FAULTS_KILL_AFTER, operation.number});
    }
  }
  return points;
}

std::vector<FaultPoint> error_points(const std::vector<Operation>& operations) {
  std::vector<FaultPoint> points;
  for (const Operation& operation : operations) {
    if (operation.call == FAULTS_MARK) {
      continue;
    }
    for (const int reason : {ENOSPC, EDQUOT, EIO, EROFS, EACCES, EMFILE, EINTR}) {
      if (faults_applies(operation.call, reason) != 0) {
        points.push_back({FAULTS_ERROR, operation.number, reason});
      }
    }
    for (const int reason : {EIO, EROFS}) {
      if (faults_applies(operation.call, reason) != 0) {
        points.push_back({FAULTS_ERROR_ON, operation.number, reason});
      }
    }
    if (faults_applies(operation.call, ENOSPC) != 0) {
      points.push_back({FAULTS_FULL_DISK, operation.number});
    }
    if (operation.call == FAULTS_WRITE && operation.data.size() > 1) {
      points.push_back({FAULTS_SHORT, operation.number});
    }
  }
  return points;
}

bool is_harmless(const FaultPoint& point) { return point.kind == FAULTS_SHORT || point.reason == EINTR; }

const char* name_of_call(int call) {
  static const std::array<const char*, 15> names = {"none",   "open",       "write",  "truncate", "allocate",
                                                    "sync",   "sync range", "rename", "link",     "symlink",
                                                    "unlink", "rmdir",      "mkdir",  "chmod",    "close"};
  return names.at(static_cast<std::size_t>(call));
}

}  // namespace maskedkd::testing
