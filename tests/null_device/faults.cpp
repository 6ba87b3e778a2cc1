#include "faults.hpp"

#include "settings.hpp"
#include "trace.hpp"

#include <cuda_runtime_api.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>

namespace maskedkd::null_device {
namespace {

constexpr int kHangs = -1, kKills = -2;

struct Fault {
  std::string name;
  long long nth = 0;
  int code = 0;
  std::atomic<long long> seen{0};
};

std::atomic<int> sticky{0};

bool is_sticky(int code) {
  switch (code) {
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorExternalDevice:
      return true;
    default:
      return false;
  }
}

std::deque<Fault>* read_faults() {
  auto* faults = new std::deque<Fault>;
  const char* text = std::getenv("NULL_DEVICE_FAULT");
  while (text != nullptr && *text != '\0') {
    char name[64] = "";
    long long nth = 0;
    int code = 0, rank = settings().rank;
    if (std::sscanf(text, "%63[^:]:%lld:%d@%d", name, &nth, &code, &rank) >= 3 && rank == settings().rank) {
      Fault& fault = faults->emplace_back();
      fault.name = name;
      fault.nth = nth;
      fault.code = code;
    }
    const char* comma = std::strchr(text, ',');
    text = comma != nullptr ? comma + 1 : nullptr;
  }
  return faults;
}

bool matches(const std::string& fault, const char* name) {
  const std::string full = name;
  return fault == full || ((fault == "h2d" || fault == "d2h") && full.starts_with(fault)) ||
         (fault == "sync" && full.ends_with("_sync"));
}

}  // namespace

int sticky_error() { return sticky.load(std::memory_order_relaxed); }

int fault_at(const char* name) {
  static std::deque<Fault>* const faults = read_faults();
  if (const int code = sticky_error()) {
    return code;
  }
  for (Fault& fault : *faults) {
    if (!matches(fault.name, name) || ++fault.seen != fault.nth) {
      continue;
    }
    log_line("FAULT %s number %lld -> %d", name, fault.nth, fault.code);
    while (fault.code == kHangs) {
      pause();
    }
    if (fault.code == kKills) {
      raise(SIGKILL);
    }
    if (is_sticky(fault.code)) {
      sticky = fault.code;
    }
    return fault.code;
  }
  return 0;
}

}  // namespace maskedkd::null_device
