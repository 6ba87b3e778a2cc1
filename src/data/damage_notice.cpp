#include "damage_notice.hpp"

#include <spdlog/spdlog.h>

#include <cstddef>
#include <mutex>
#include <unordered_set>

namespace maskedkd {
namespace {

constexpr std::size_t kWarningFactor = 10;  // images until the next warning, relative to the last one

struct DamagedImages {
  std::mutex mutex;
  std::unordered_set<std::string> records;
  std::size_t warn_at = 1;
};

DamagedImages& damaged_images() {
  static DamagedImages images;
  return images;
}

}  // namespace

void report_damaged_image(const std::string& record, const std::string& damage) {
  DamagedImages& images = damaged_images();
  const std::lock_guard lock(images.mutex);
  if (!images.records.insert(record).second || images.records.size() < images.warn_at) {
    return;
  }
  images.warn_at *= kWarningFactor;
  if (images.records.size() == 1) {
    spdlog::warn(
        "{}: the image is damaged ({}) and is used as PIL decodes it; further ones are only counted: maskedkd_pack "
        "verify --decode lists all",
        record, damage);
  } else {
    spdlog::warn("{}: this image is damaged as well ({} damaged images so far)", record, images.records.size());
  }
}

}  // namespace maskedkd
