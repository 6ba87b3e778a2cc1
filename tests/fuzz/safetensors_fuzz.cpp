// Fuzzes the header of a safetensors file. An input is 8 bytes, little-endian, with the number of data bytes after the
// header; then the header's text. It must be refused by an Error of one line, or the layout of its tensors must be
// valid. See README.md.
#include "expect.hpp"
#include "io/safetensors_header.hpp"
#include "maskedkd/base/error.hpp"

#include <nlohmann/json.hpp>

#include <cstring>
#include <set>

namespace maskedkd {
namespace {

// The table of the format's specification.
const std::map<std::string, unsigned> kSizes = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2},
                                                {"I64", 8}, {"I32", 4}, {"U8", 1},  {"BOOL", 1}};

std::string name_of(c10::ScalarType type) {
  for (const SafetensorsType& known : kSafetensorsTypes) {
    if (known.type == type) {
      return known.name;
    }
  }
  return "";
}

void check(const SafetensorsLayout& layout, std::uint64_t data_bytes) {
  std::uint64_t covered = 0;
  std::set<std::string> names;
  for (const SafetensorsEntry& entry : layout.entries) {
    fuzz::expect(names.insert(entry.name).second && entry.name != kSafetensorsMetadata, "names are unique");
    fuzz::expect(entry.begin == covered && entry.end >= entry.begin, "each begins where the one before ends");
    covered = entry.end;
    unsigned __int128 bytes = kSizes.at(name_of(entry.type));
    fuzz::expect(entry.element_bytes == static_cast<std::int64_t>(bytes), "an element has its dtype's size");
    unsigned __int128 strides = bytes;
    for (const std::int64_t side : entry.shape) {
      fuzz::expect(side >= 0, "no side is negative");
      bytes *= static_cast<std::uint64_t>(side);
      strides *= static_cast<std::uint64_t>(side > 0 ? side : 1);
      fuzz::expect(strides <= INT64_MAX, "strides can be computed");
    }
    fuzz::expect(entry.end - entry.begin == bytes, "bytes are dtype x shape");
  }
  fuzz::expect(covered == data_bytes, "the data is covered to its end");
}

// An accepted layout can be written and is read as the same.
void check_round_trip(const SafetensorsLayout& layout, std::uint64_t data_bytes) {
  nlohmann::json header = nlohmann::json::object();
  if (!layout.metadata.empty()) {
    header[kSafetensorsMetadata] = layout.metadata;
  }
  for (const SafetensorsEntry& entry : layout.entries) {
    header[entry.name] = {
        {"dtype", name_of(entry.type)}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
  }
  const SafetensorsLayout again = parse_safetensors_header(header.dump(), data_bytes, "again");
  fuzz::expect(again.metadata == layout.metadata && again.entries.size() == layout.entries.size(), "read as the same");
}

}  // namespace
}  // namespace maskedkd

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t count) {
  using namespace maskedkd;
  fuzz::refused_in_one_line([&] {
    const std::uint64_t header_bytes = safetensors_header_bytes({bytes, count}, count, "file");
    fuzz::expect(header_bytes <= count - 8, "the header lies within the file");
  });
  if (count < 8) {
    return 0;
  }
  std::uint64_t data_bytes = 0;
  std::memcpy(&data_bytes, bytes, 8);
  const std::string text(reinterpret_cast<const char*>(bytes) + 8, count - 8);
  fuzz::refused_in_one_line([&] {
    const SafetensorsLayout layout = parse_safetensors_header(text, data_bytes, "file");
    check(layout, data_bytes);
    check_round_trip(layout, data_bytes);
  });
  return 0;
}
