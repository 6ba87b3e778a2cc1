#include "settings.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace maskedkd::null_device {
namespace {

const char* text_of(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr ? text : "";
}
double number_of(const char* name, double otherwise) {
  const char* text = text_of(name);
  return *text != '\0' ? std::atof(text) : otherwise;
}

// NTH:VALUE[:INDEX][@RANK]
void read_scalar(Settings& s) {
  const char* text = text_of("NULL_DEVICE_SCALAR");
  const char* colon = std::strchr(text, ':');
  const char* at = std::strchr(text, '@');
  if (colon != nullptr && (at == nullptr || std::atoi(at + 1) == s.rank)) {
    s.scalar_number = std::atoll(text);
    char* end = nullptr;
    s.scalar_value = std::strtof(colon + 1, &end);
    s.scalar_index = *end == ':' ? static_cast<std::size_t>(std::atoi(end + 1)) : 0;
  }
}

Settings* read_settings() {
  auto* s = new Settings;  // never destroyed: calls come until the process has ended
  const char* rank = text_of("OMPI_COMM_WORLD_RANK");
  s->rank = std::atoi(*rank != '\0' ? rank : text_of("PMIX_RANK"));
  s->num_devices = std::clamp(static_cast<int>(number_of("NULL_DEVICE_DEVICES", 1)), 0, kMostDevices);
  s->memory_bytes = static_cast<std::size_t>(number_of("NULL_DEVICE_GIB", 80) * (1 << 30));
  s->driver_version = static_cast<int>(number_of("NULL_DEVICE_DRIVER", 13000));
  for (const char* at = text_of("NULL_DEVICE_NAMES"); *at != '\0';) {
    const std::size_t length = std::strcspn(at, ",");
    s->names.emplace_back(at, length);
    at += length + (at[length] == ',' ? 1 : 0);
  }
  if (*text_of("NULL_DEVICE_SCHEDULE") != '\0') {
    s->schedule = std::strtoull(text_of("NULL_DEVICE_SCHEDULE"), nullptr, 10);
  }
  if (*text_of("NULL_DEVICE_LARGEST_COPY_KIB") != '\0') {
    s->largest_copy_bytes = static_cast<std::size_t>(number_of("NULL_DEVICE_LARGEST_COPY_KIB", 0)) << 10;
  }
  s->digest_bytes = static_cast<std::size_t>(number_of("NULL_DEVICE_DIGEST_KIB", 64) * 1024);
  s->backtraces = number_of("NULL_DEVICE_BACKTRACES", 0) != 0;
  s->mend_scalars = number_of("NULL_DEVICE_MEND_SCALARS", 1) != 0;
  read_scalar(*s);
  if (*text_of("NULL_DEVICE_GARBAGE") != '\0') {
    s->garbage = std::strtof(text_of("NULL_DEVICE_GARBAGE"), nullptr);
  }
  s->log = text_of("NULL_DEVICE_LOG");
  s->trace = text_of("NULL_DEVICE_TRACE");
  s->counts = text_of("NULL_DEVICE_COUNTS");
  s->digests = text_of("NULL_DEVICE_DIGESTS");
  s->times = text_of("NULL_DEVICE_TIMES");
  return s;
}

}  // namespace

const Settings& settings() {
  static const Settings* const read = read_settings();
  return *read;
}

std::string file_of(const std::string& prefix) { return prefix + "." + std::to_string(settings().rank); }

}  // namespace maskedkd::null_device
