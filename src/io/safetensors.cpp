#include "maskedkd/io/safetensors.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"

#include <ATen/ops/empty.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <set>

namespace maskedkd {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the format is little-endian, and bytes are used as they are");

constexpr std::uint64_t kLargestHeader = 100'000'000;
constexpr std::size_t kMostSides = 16;
constexpr const char* kMetadata = "__metadata__";

struct NamedType {
  const char* name;
  at::ScalarType type;
};
constexpr std::array<NamedType, 8> kTypes = {{{"F64", at::kDouble},
                                              {"F32", at::kFloat},
                                              {"F16", at::kHalf},
                                              {"BF16", at::kBFloat16},
                                              {"I64", at::kLong},
                                              {"I32", at::kInt},
                                              {"U8", at::kByte},
                                              {"BOOL", at::kBool}}};

// Where a tensor's bytes lie in the data that follows the header.
struct Entry {
  std::string name;
  at::ScalarType type = at::kFloat;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

class Refusal {
 public:
  explicit Refusal(const std::filesystem::path& path) : path_(path) {}
  [[noreturn]] void operator()(const std::string& why) const {
    throw usage_error(fmt::format("{} is not a whole safetensors file: {}", path_.string(), why),
                      "write or copy the file again");
  }

 private:
  const std::filesystem::path& path_;
};

// nlohmann's parser keeps the last of two equal keys without a word, and deep or long arrays cost it many times their
// length in memory: the callback hears of every key and every number before that. To the parser a NUL ends the text.
nlohmann::json parse_header(const std::string& text, const Refusal& refuse) {
  if (text.empty() || text.front() != '{' || text.find('\0') != std::string::npos) {
    refuse("its header is not JSON that begins with {");
  }
  using Event = nlohmann::json::parse_event_t;
  constexpr int kDeepest = 2;  // header, tensor, shape
  std::vector<std::set<std::string>> keys;
  std::size_t array_length = 0;
  const auto watch = [&](int depth, Event event, nlohmann::json& value) {
    if (event == Event::object_start || event == Event::array_start) {
      if (depth > kDeepest) {
        refuse("its header is nested too deep");
      }
      array_length = 0;
    }
    if (event == Event::object_start) {
      keys.emplace_back();
    } else if (event == Event::object_end) {
      keys.pop_back();
    } else if (event == Event::key) {
      array_length = 0;
      const auto& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) {
        refuse(fmt::format("its header names '{}' twice", key));
      }
    } else if (event == Event::value && ++array_length > kMostSides) {
      refuse(fmt::format("its header has a list of more than {} values", kMostSides));
    }
    return true;
  };
  try {
    nlohmann::json header = nlohmann::json::parse(text, watch);
    if (!header.is_object()) {
      refuse("its header is no JSON object");
    }
    return header;
  } catch (const nlohmann::json::exception&) {
    refuse("its header is not JSON");
  }
}

std::uint64_t unsigned_number(const nlohmann::json& value, const std::string& what, const Refusal& refuse) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
    refuse(what + " is no whole number from 0 on");
  }
  return value.get<std::uint64_t>();
}

Entry parse_entry(const std::string& name, const nlohmann::json& value, std::uint64_t data_bytes,
                  const Refusal& refuse) {
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets")) {
    refuse(fmt::format("tensor '{}' needs dtype, shape and data_offsets, and nothing else", name));
  }
  Entry entry;
  entry.name = name;
  const auto& dtype = value["dtype"];
  const auto type = std::find_if(kTypes.begin(), kTypes.end(),
                                 [&](const NamedType& known) { return dtype.is_string() && dtype == known.name; });
  if (type == kTypes.end()) {
    refuse(fmt::format("tensor '{}' has the unknown dtype {}", name, dtype.dump()));
  }
  entry.type = type->type;
  const auto& shape = value["shape"];
  const auto& offsets = value["data_offsets"];
  if (!shape.is_array() || shape.size() > kMostSides || !offsets.is_array() || offsets.size() != 2) {
    refuse(fmt::format("tensor '{}' has a malformed shape or data_offsets", name));
  }
  // Sides of 0 apart: a tensor without elements has strides too, which must not overflow.
  std::int64_t bytes = static_cast<std::int64_t>(at::elementSize(entry.type));
  bool overflows = false;
  for (const auto& side : shape) {
    const std::uint64_t length = unsigned_number(side, fmt::format("a side of tensor '{}'", name), refuse);
    overflows |= __builtin_mul_overflow(bytes, std::max<std::uint64_t>(length, 1), &bytes);
    entry.shape.push_back(static_cast<std::int64_t>(length));
  }
  entry.begin = unsigned_number(offsets[0], fmt::format("an offset of tensor '{}'", name), refuse);
  entry.end = unsigned_number(offsets[1], fmt::format("an offset of tensor '{}'", name), refuse);
  if (overflows) {
    refuse(fmt::format("the size of tensor '{}' overflows", name));
  }
  if (std::find(entry.shape.begin(), entry.shape.end(), 0) != entry.shape.end()) {
    bytes = 0;
  }
  if (entry.begin > entry.end || entry.end > data_bytes) {
    refuse(fmt::format("tensor '{}' lies at bytes {}..{} of {}", name, entry.begin, entry.end, data_bytes));
  }
  if (entry.end - entry.begin != static_cast<std::uint64_t>(bytes)) {
    refuse(fmt::format("tensor '{}' has {} bytes, its dtype and shape another number", name, entry.end - entry.begin));
  }
  return entry;
}

void check_cover(std::vector<Entry>& entries, std::uint64_t data_bytes, const Refusal& refuse) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != covered) {
      refuse(fmt::format("tensor '{}' {} the one before", entry.name,
                         entry.begin < covered ? "overlaps" : "leaves a hole after"));
    }
    covered = entry.end;
  }
  if (covered != data_bytes) {
    refuse(fmt::format("{} bytes at its end belong to no tensor", data_bytes - covered));
  }
}

}  // namespace

SafetensorsFile read_safetensors(const std::filesystem::path& path) {
  const Refusal refuse(path);
  const FileDescriptor file = open_for_reading(path);
  const std::uint64_t size = file_size_bytes(file, path);
  std::uint64_t header_bytes = 0;
  if (size < sizeof(header_bytes)) {
    refuse(fmt::format("it has only {} bytes", size));
  }
  read_exactly(file, 0, {reinterpret_cast<std::uint8_t*>(&header_bytes), sizeof(header_bytes)}, path);
  if (header_bytes > kLargestHeader || header_bytes > size - sizeof(header_bytes)) {
    refuse(fmt::format("its header says that it has {} bytes", header_bytes));
  }
  std::string header_text(header_bytes, '\0');
  read_exactly(file, sizeof(header_bytes), {reinterpret_cast<std::uint8_t*>(header_text.data()), header_bytes}, path);
  const std::uint64_t data_begin = sizeof(header_bytes) + header_bytes;
  const nlohmann::json header = parse_header(header_text, refuse);

  SafetensorsFile result;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == kMetadata) {
      if (!value.is_object()) {
        refuse("its __metadata__ is no object");
      }
      for (const auto& [key, text] : value.items()) {
        if (!text.is_string()) {
          refuse(fmt::format("its __metadata__ has '{}', which is no text", key));
        }
        result.metadata[key] = text.get<std::string>();
      }
    } else {
      entries.push_back(parse_entry(name, value, size - data_begin, refuse));
    }
  }
  check_cover(entries, size - data_begin, refuse);
  for (const Entry& entry : entries) {
    const at::Tensor tensor = at::empty(entry.shape, at::TensorOptions().dtype(entry.type));
    read_exactly(file, data_begin + entry.begin,
                 {static_cast<std::uint8_t*>(tensor.mutable_data_ptr()), entry.end - entry.begin}, path);
    result.tensors.emplace(entry.name, tensor);
  }
  return result;
}

void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) {
    header[kMetadata] = metadata;
  }
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto type = std::find_if(kTypes.begin(), kTypes.end(),
                                   [&](const NamedType& known) { return known.type == tensor.scalar_type(); });
    if (type == kTypes.end()) {
      throw Error(fmt::format("{}: tensor '{}' has a dtype that safetensors can't hold here", path.string(), name));
    }
    if (header.contains(name) || name == kMetadata) {
      throw Error(fmt::format("{}: two tensors are named '{}'", path.string(), name));
    }
    const std::uint64_t end = offset + tensor.nbytes();
    header[name] = {{"dtype", type->name}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(fmt::format("{}: a tensor's name or the metadata is not UTF-8", path.string()));
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');  // data begins at a multiple of 8
  const std::uint64_t header_bytes = text.size();

  const FileDescriptor file = create_file(path);
  write_all(file, {reinterpret_cast<const std::uint8_t*>(&header_bytes), sizeof(header_bytes)}, path);
  write_all(file, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, path);
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor local = tensor.detach().cpu().contiguous();
    write_all(file, {static_cast<const std::uint8_t*>(local.const_data_ptr()), local.nbytes()}, path);
  }
  sync_file(file, path);
}

}  // namespace maskedkd
