#include "damage_notice.hpp"

#include <spdlog/spdlog.h>

#include <cstddef>
#include <mutex>
#include <unordered_set>

namespace maskedkd {
namespace {

constexpr std::size_t kTimesMore = 10;  // pictures until the next warning

struct DamagedPictures {
  std::mutex mutex;
  std::unordered_set<std::string> records;
  std::size_t warn_at = 1;
};

DamagedPictures& damaged_pictures() {
  static DamagedPictures pictures;
  return pictures;
}

}  // namespace

void note_damaged_picture(const std::string& record, const std::string& damage) {
  DamagedPictures& pictures = damaged_pictures();
  const std::lock_guard lock(pictures.mutex);
  if (!pictures.records.insert(record).second || pictures.records.size() < pictures.warn_at) {
    return;
  }
  pictures.warn_at *= kTimesMore;
  if (pictures.records.size() == 1) {
    spdlog::warn(
        "{}: the picture is damaged ({}) and is used as PIL decodes it; further ones are only counted: maskedkd_pack "
        "verify --decode lists all",
        record, damage);
  } else {
    spdlog::warn("{}: this picture is damaged as well ({} damaged pictures so far)", record, pictures.records.size());
  }
}

}  // namespace maskedkd
