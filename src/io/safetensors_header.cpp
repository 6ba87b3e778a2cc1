#include "safetensors_header.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/io/strict_json.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace maskedkd {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the format is little-endian, and bytes are used as they are");

constexpr std::uint64_t kLargestHeader = 100'000'000;
constexpr std::size_t kMostSides = 16;
constexpr JsonLimits kLimits{.depth = 3, .list_length = kMostSides};  // header, tensor, shape
constexpr const char* kWriteAgain = "write or copy the file again";

class Refusal {
 public:
  explicit Refusal(const std::string& file) : file_(file) {}
  [[noreturn]] void operator()(const std::string& why, const char* hint = kWriteAgain) const {
    throw usage_error(fmt::format("{} is not a valid safetensors file: {}", file_, why), hint);
  }
  // Of a file that ends too early.
  [[noreturn]] void missing(const std::string& why, std::uint64_t bytes) const {
    (*this)(fmt::format("{}: {} {} missing", why, bytes, bytes == 1 ? "byte is" : "bytes are"),
            "is it still being written or copied? wait for that, or write or copy it again");
  }

 private:
  const std::string& file_;
};

std::uint64_t unsigned_number(const nlohmann::json& value, const std::string& what, const Refusal& refuse) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
    refuse(what + " is not a whole number >= 0");
  }
  return value.get<std::uint64_t>();
}

SafetensorsEntry parse_entry(const std::string& name, const nlohmann::json& value, const Refusal& refuse) {
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets")) {
    refuse(fmt::format("tensor {} needs dtype, shape and data_offsets, and nothing else", quoted_name(name)));
  }
  SafetensorsEntry entry;
  entry.name = name;
  const auto& dtype = value["dtype"];
  const auto type = std::find_if(kSafetensorsTypes.begin(), kSafetensorsTypes.end(), [&](const SafetensorsType& known) {
    return dtype.is_string() && dtype == known.name;
  });
  if (type == kSafetensorsTypes.end()) {
    refuse(
        fmt::format("tensor {} has the unknown dtype {}", quoted_name(name), dtype.dump(-1, ' ', true).substr(0, 60)));
  }
  entry.type = type->type;
  entry.element_bytes = type->bytes;
  const auto& shape = value["shape"];
  const auto& offsets = value["data_offsets"];
  if (!shape.is_array() || shape.size() > kMostSides || !offsets.is_array() || offsets.size() != 2) {
    refuse(fmt::format("tensor {} has a malformed shape or data_offsets", quoted_name(name)));
  }
  // Sides of 0 count as 1 here: a tensor without elements has strides too, which must not overflow.
  std::int64_t bytes = type->bytes;
  bool overflows = false;
  for (const auto& side : shape) {
    const std::uint64_t length = unsigned_number(side, fmt::format("a side of tensor {}", quoted_name(name)), refuse);
    overflows |= __builtin_mul_overflow(bytes, std::max<std::uint64_t>(length, 1), &bytes);
    entry.shape.push_back(static_cast<std::int64_t>(length));
  }
  entry.begin = unsigned_number(offsets[0], fmt::format("an offset of tensor {}", quoted_name(name)), refuse);
  entry.end = unsigned_number(offsets[1], fmt::format("an offset of tensor {}", quoted_name(name)), refuse);
  if (overflows) {
    refuse(fmt::format("the size of tensor {} overflows", quoted_name(name)));
  }
  if (std::find(entry.shape.begin(), entry.shape.end(), 0) != entry.shape.end()) {
    bytes = 0;
  }
  if (entry.begin > entry.end) {
    refuse(fmt::format("tensor {} lies at bytes {}..{}", quoted_name(name), entry.begin, entry.end));
  }
  if (entry.end - entry.begin != static_cast<std::uint64_t>(bytes)) {
    refuse(fmt::format("tensor {} has {} bytes, but its dtype and shape need {}", quoted_name(name),
                       entry.end - entry.begin, bytes));
  }
  return entry;
}

std::map<std::string, std::string> parse_metadata(const nlohmann::json& value, const Refusal& refuse) {
  if (!value.is_object()) {
    refuse(fmt::format("its {} is not an object", kSafetensorsMetadata));
  }
  std::map<std::string, std::string> metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      refuse(fmt::format("the value of {} in its {} is not a string", quoted_name(key), kSafetensorsMetadata));
    }
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

void check_cover(std::vector<SafetensorsEntry>& entries, std::uint64_t data_bytes, const Refusal& refuse) {
  std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t needed_bytes = 0;
  for (const SafetensorsEntry& entry : entries) {
    needed_bytes = std::max(needed_bytes, entry.end);
  }
  std::uint64_t covered = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.end > data_bytes) {
      refuse.missing(fmt::format("tensor {} lies at bytes {}..{} of {}", quoted_name(entry.name), entry.begin,
                                 entry.end, data_bytes),
                     needed_bytes - data_bytes);
    }
    if (entry.begin != covered) {
      refuse(fmt::format("tensor {} {} the one before", quoted_name(entry.name),
                         entry.begin < covered ? "overlaps" : "leaves a hole after"));
    }
    covered = entry.end;
  }
  if (covered != data_bytes) {
    refuse(fmt::format("{} bytes at its end belong to no tensor", data_bytes - covered));
  }
}

}  // namespace

std::uint64_t safetensors_header_bytes(std::span<const std::uint8_t> start, std::uint64_t file_bytes,
                                       const std::string& file) {
  const Refusal refuse(file);
  std::uint64_t header_bytes = 0;
  if (file_bytes < sizeof(header_bytes) || start.size() < sizeof(header_bytes)) {
    refuse(file_bytes == 0 ? "it is empty" : fmt::format("it has only {} bytes", file_bytes));
  }
  std::memcpy(&header_bytes, start.data(), sizeof(header_bytes));
  const std::string says = fmt::format("its header says that it has {} bytes", header_bytes);
  if (header_bytes > kLargestHeader) {
    refuse(says);
  }
  if (header_bytes > file_bytes - sizeof(header_bytes)) {
    refuse.missing(says, header_bytes - (file_bytes - sizeof(header_bytes)));
  }
  return header_bytes;
}

SafetensorsLayout parse_safetensors_header(std::string_view text, std::uint64_t data_bytes, const std::string& file) {
  const Refusal refuse(file);
  nlohmann::json header;
  try {
    header = parse_strict_json(text, kLimits);
  } catch (const JsonRefusal& refusal) {
    refuse(fmt::format("its header {}", refusal.what()));
  }
  SafetensorsLayout layout;
  for (const auto& [name, value] : header.items()) {
    if (name == kSafetensorsMetadata) {
      layout.metadata = parse_metadata(value, refuse);
    } else {
      layout.entries.push_back(parse_entry(name, value, refuse));
    }
  }
  check_cover(layout.entries, data_bytes, refuse);
  return layout;
}

}  // namespace maskedkd
