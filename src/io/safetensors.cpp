// Maps or reads tensors from files, and writes them. The rules of headers are in safetensors_header.cpp.
#include "maskedkd/io/safetensors.hpp"

#include "foreign_file.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"
#include "safetensors_header.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <sys/mman.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <future>
#include <span>

namespace maskedkd {
namespace {

// A mapping of fewer bytes costs more than a copy. The number of mappings is limited (vm.max_map_count: 65530).
constexpr std::uint64_t kSmallestMapping = std::uint64_t{1} << 20;
constexpr int kMostMappings = 4096;

struct OpenFile {
  FileDescriptor descriptor;
  std::uint64_t data_begin = 0;
  SafetensorsLayout layout;
};

OpenFile open_safetensors(const std::filesystem::path& path) {
  OpenFile file;
  file.descriptor = open_for_reading(path);
  const std::uint64_t size = file_size_bytes(file.descriptor, path);
  std::vector<std::uint8_t> start(std::min<std::uint64_t>(size, kForeignStartBytes));
  read_exactly(file.descriptor, 0, start, path);
  if (const auto foreign = foreign_file(start, path)) {
    throw Error(*foreign);
  }
  const std::uint64_t header_bytes = safetensors_header_bytes(start, size, path.string());
  file.data_begin = sizeof(header_bytes) + header_bytes;
  std::string text(header_bytes, '\0');
  read_exactly(file.descriptor, sizeof(header_bytes), {reinterpret_cast<std::uint8_t*>(text.data()), text.size()},
               path);
  file.layout = parse_safetensors_header(text, size - file.data_begin, path.string());
  return file;
}

// A private mapping of the tensor's pages, which is removed with the tensor. Undefined where it can't be mapped.
at::Tensor mapped(const OpenFile& file, const SafetensorsEntry& entry) {
  const std::uint64_t begin = file.data_begin + entry.begin;
  const std::uint64_t bytes = entry.end - entry.begin;
  if (bytes < kSmallestMapping || begin % static_cast<std::uint64_t>(entry.element_bytes) != 0) {
    return {};
  }
  const std::uint64_t into_page = begin % static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const std::size_t length = into_page + bytes;
  void* const pages = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.descriptor.get(),
                           static_cast<off_t>(begin - into_page));
  if (pages == MAP_FAILED) {
    return {};
  }
  return at::from_blob(
      static_cast<std::uint8_t*>(pages) + into_page, entry.shape, [pages, length](void*) { munmap(pages, length); },
      at::TensorOptions().dtype(entry.type));
}

at::Tensor copied(const OpenFile& file, const SafetensorsEntry& entry, const std::filesystem::path& path) {
  at::Tensor tensor = at::empty(entry.shape, at::TensorOptions().dtype(entry.type));
  read_exactly(file.descriptor, file.data_begin + entry.begin,
               {static_cast<std::uint8_t*>(tensor.mutable_data_ptr()), entry.end - entry.begin}, path);
  return tensor;
}

// The JSON text, padded so that the data begins at a multiple of 8.
std::string header_text(const std::filesystem::path& path, const NamedTensors& tensors,
                        const SafetensorsMetadata& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) {
    header[kSafetensorsMetadata] = metadata;
  }
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto type =
        std::find_if(kSafetensorsTypes.begin(), kSafetensorsTypes.end(),
                     [dtype = tensor.scalar_type()](const SafetensorsType& known) { return known.type == dtype; });
    if (type == kSafetensorsTypes.end()) {
      throw Error(fmt::format("{}: tensor '{}' has a dtype that safetensors can't hold here", path.string(), name));
    }
    if (header.contains(name) || name == kSafetensorsMetadata) {
      throw Error(fmt::format("{}: two tensors are named '{}'", path.string(), name));
    }
    const std::uint64_t end = offset + tensor.nbytes();
    header[name] = {{"dtype", type->name}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  try {
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    return text;
  } catch (const nlohmann::json::exception&) {
    throw Error(fmt::format("{}: a tensor's name or the metadata is not UTF-8", path.string()));
  }
}

}  // namespace

std::uint64_t total_bytes(const NamedTensors& tensors) {
  std::uint64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) {
    bytes += tensor.nbytes();
  }
  return bytes;
}

SafetensorsHeader read_safetensors_header(const std::filesystem::path& path) {
  OpenFile file = open_safetensors(path);
  SafetensorsHeader header;
  header.metadata = std::move(file.layout.metadata);
  for (SafetensorsEntry& entry : file.layout.entries) {
    header.tensors.emplace(std::move(entry.name), TensorInfo{entry.type, std::move(entry.shape)});
  }
  return header;
}

SafetensorsFile read_safetensors(const std::filesystem::path& path) {
  OpenFile file = open_safetensors(path);
  SafetensorsFile result;
  result.metadata = std::move(file.layout.metadata);
  int mappings = 0;
  for (const SafetensorsEntry& entry : file.layout.entries) {
    at::Tensor tensor = mappings < kMostMappings ? mapped(file, entry) : at::Tensor();
    mappings += tensor.defined() ? 1 : 0;
    result.tensors.emplace(entry.name, tensor.defined() ? std::move(tensor) : copied(file, entry, path));
  }
  return result;
}

void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const SafetensorsMetadata& metadata, Sha256* digest) {
  const std::string text = header_text(path, tensors, metadata);
  const std::uint64_t header_bytes = text.size();
  // Removed, not truncated: tensors may be mapped from it, even those that are written here.
  std::error_code none;
  if (std::filesystem::is_regular_file(path, none)) {
    std::filesystem::remove(path, none);
  }
  std::vector<at::Tensor> local;
  for (const auto& [name, tensor] : tensors) {
    local.push_back(tensor.detach().cpu().contiguous());
  }
  const auto for_each_piece = [&](const auto& take) {
    take(std::span(reinterpret_cast<const std::uint8_t*>(&header_bytes), sizeof(header_bytes)));
    take(std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
    for (const at::Tensor& tensor : local) {
      take(std::span(static_cast<const std::uint8_t*>(tensor.const_data_ptr()), tensor.nbytes()));
    }
  };
  // A core hashes about as fast as a fast disk writes: done at the same time, both take the time of one.
  std::future<void> hashing;
  if (digest != nullptr) {
    hashing =
        std::async(std::launch::async, [&] { for_each_piece([&](const auto& piece) { digest->update(piece); }); });
  }
  const FileDescriptor file = create_file(path);
  for_each_piece([&](const auto& piece) { write_all(file, piece, path); });
  sync_file(file, path);
  if (hashing.valid()) {
    hashing.get();
  }
}

}  // namespace maskedkd
