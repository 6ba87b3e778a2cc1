#include "trace.hpp"

#include "faults.hpp"
#include "memory.hpp"
#include "settings.hpp"

#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "devices.hpp"

namespace maskedkd::null_device {
namespace {

constexpr const char* kNames[] = {"launch",      "product",       "config_product", "captured",      "graph_launch",
                                  "h2d_pinned",  "h2d_pageable",  "d2h_pinned",     "d2h_pageable",  "d2d",
                                  "p2p",         "h2h",           "memset",         "blocking_copy", "stream_sync",
                                  "device_sync", "event_sync",    "stream_query",   "event_query",   "event_record",
                                  "stream_wait", "host_function", "event_create",   "event_destroy", "stream_create",
                                  "malloc",      "free",          "host_alloc",     "host_free",     "set_device",
                                  "nccl",        "nccl_init",     "nccl_abort",     "cublas_create", "heuristic",
                                  "attribute",   "capture",       "context",        "mistake"};
static_assert(std::size(kNames) == static_cast<std::size_t>(Call::num_calls));

FILE* open_file(const std::string& prefix) {
  return prefix.empty() ? nullptr : std::fopen(file_of(prefix).c_str(), "we");
}

struct Files {
  std::mutex mutex;
  FILE* log = open_file(settings().log);
  FILE* trace = open_file(settings().trace);
  FILE* digests = open_file(settings().digests);
  FILE* times = open_file(settings().times);
  std::atomic<std::uint64_t> counts[static_cast<std::size_t>(Call::num_calls)] = {};
  std::map<std::int64_t, std::string> threads;  // that have called the device
};

Files* made_files = nullptr;  // null where the process has never called the device, such as a launcher's

Files& files() {
  static Files* const made = [] {
    made_files = new Files;
    return made_files;
  }();
  return *made;
}

std::int64_t clock_ns(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

std::int64_t thread_id() {
  thread_local const std::int64_t id = [] {
    const std::int64_t number = syscall(SYS_gettid);
    char name[32] = "";
    pthread_getname_np(pthread_self(), name, sizeof(name));
    const std::lock_guard lock(files().mutex);
    files().threads[number] = name;
    return number;
  }();
  return id;
}

// Linux's clock of another thread of this process, as pthread_getcpuclockid() builds it.
std::int64_t thread_cpu_ns(std::int64_t thread) {
  return clock_ns(static_cast<clockid_t>((~static_cast<unsigned>(thread) << 3) | 6));
}

void print(const char* kind, const char* format, va_list list) {
  char text[512];
  std::vsnprintf(text, sizeof(text), format, list);
  FILE* log = files().log != nullptr ? files().log : stderr;
  std::fprintf(log, "null_device[%d] %s%s\n", settings().rank, kind, text);
  std::fflush(log);
}

struct AtExit {
  ~AtExit() {
    if (made_files == nullptr) {
      return;
    }
    if (made_files->trace != nullptr) {
      std::fflush(made_files->trace);
    }
    FILE* file = open_file(settings().counts);
    if (file == nullptr) {
      return;
    }
    std::fprintf(file, "{\n");
    for (std::size_t i = 0; i < std::size(kNames); ++i) {
      std::fprintf(file, "  \"%s\": %llu,\n", kNames[i], static_cast<unsigned long long>(made_files->counts[i]));
    }
    std::fprintf(file, "  \"peak_bytes\": %zu\n}\n", peak_bytes());
    std::fclose(file);
  }
};
const AtExit at_exit;

}  // namespace

const char* name_of(Call call) { return kNames[static_cast<std::size_t>(call)]; }

namespace {
std::atomic<bool> garbage{false};
}
void set_results_garbage() { garbage = true; }
bool results_are_garbage() { return garbage; }

std::int64_t now_ns() { return clock_ns(CLOCK_MONOTONIC); }

int record(Call call, const Detail& detail) {
  Files& all = files();
  all.counts[static_cast<std::size_t>(call)].fetch_add(1, std::memory_order_relaxed);
  const std::int64_t thread = thread_id();
  if (all.trace != nullptr) {
    const std::lock_guard lock(all.mutex);
    std::fprintf(all.trace, "%lld %lld %s device %d of %d stream %p size %llu %s\n", static_cast<long long>(now_ns()),
                 static_cast<long long>(thread), name_of(call), current_device(), detail.device, detail.stream,
                 static_cast<unsigned long long>(detail.size), detail.name);
  }
  return fault_at(name_of(call));
}

void log_line(const char* format, ...) {
  va_list list;
  va_start(list, format);
  print("", format, list);
  va_end(list);
}

void mistake(const char* format, ...) {
  va_list list;
  va_start(list, format);
  print("MISTAKE: ", format, list);
  va_end(list);
  files().counts[static_cast<std::size_t>(Call::mistake)].fetch_add(1, std::memory_order_relaxed);
  if (settings().backtraces) {
    print_stack(files().log != nullptr ? fileno(files().log) : STDERR_FILENO);
  }
}

void print_stack(int fd) {
  void* frames[48];
  const int count = backtrace(frames, 48);
  for (int i = 1; i < count; ++i) {
    Dl_info info{};
    if (dladdr(frames[i], &info) != 0 && info.dli_fname != nullptr) {
      const char* slash = std::strrchr(info.dli_fname, '/');
      dprintf(fd, "    %s+0x%zx %s\n", slash != nullptr ? slash + 1 : info.dli_fname,
              static_cast<std::size_t>(static_cast<char*>(frames[i]) - static_cast<char*>(info.dli_fbase)),
              info.dli_sname != nullptr ? info.dli_sname : "");
    }
  }
}

void record_digest(Call call, std::uint64_t number, const void* bytes, std::size_t size) {
  Files& all = files();
  if (all.digests == nullptr || size < settings().digest_bytes) {
    return;
  }
  std::uint64_t hash = 14695981039346656037ULL;  // FNV-1a on words
  const char* at = static_cast<const char*>(bytes);
  for (std::size_t i = 0; i < size; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at + i, size - i < 8 ? size - i : 8);
    hash = (hash ^ word) * 1099511628211ULL;
  }
  const std::lock_guard lock(all.mutex);
  std::fprintf(all.digests, "%s %llu %zu %016llx\n", name_of(call), static_cast<unsigned long long>(number), size,
               static_cast<unsigned long long>(hash));
  std::fflush(all.digests);
}

void record_times() {
  Files& all = files();
  if (all.times == nullptr) {
    return;
  }
  const std::lock_guard lock(all.mutex);
  std::fprintf(all.times, "%lld", static_cast<long long>(now_ns()));
  for (const auto& [thread, name] : all.threads) {
    std::fprintf(all.times, "\t%lld %lld %s", static_cast<long long>(thread),
                 static_cast<long long>(thread_cpu_ns(thread)), name.c_str());
  }
  std::fprintf(all.times, "\n");
  std::fflush(all.times);
}

}  // namespace maskedkd::null_device
