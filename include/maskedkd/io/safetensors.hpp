// The safetensors format (https://huggingface.co/docs/safetensors): 8 bytes little-endian header length, a JSON header
// {name: {dtype, shape, data_offsets}}, then the bytes. Weights and checkpoints are stored in it. Reading is strict: a
// file that breaks a rule is refused with the name of the tensor and the rule, and no number is used before it is
// checked.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace maskedkd {

class Sha256;

struct TensorInfo {
  at::ScalarType dtype;
  std::vector<std::int64_t> shape;
};

using SafetensorsMetadata = std::map<std::string, std::string>;  // "__metadata__"

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

std::uint64_t total_bytes(const NamedTensors& tensors);  // of their values

struct SafetensorsFile {
  std::map<std::string, at::Tensor> tensors;  // on the CPU, contiguous, owning their memory or their mapping
  SafetensorsMetadata metadata;
};

struct SafetensorsHeader {
  std::map<std::string, TensorInfo> tensors;
  SafetensorsMetadata metadata;
};

// The dtypes and shapes of the file's tensors, with the same checks and errors as read_safetensors(); reads no tensor.
SafetensorsHeader read_safetensors_header(const std::filesystem::path& path);

// dtypes F64, F32, F16, BF16, I64, I32, U8, BOOL; header of at most 100 MB; the ranges must cover the data exactly
// without overlap or hole, in any order. Throws Error; of a file of another known format it names the format. Large
// tensors are private mappings, each of separate pages: nothing is read before it is used, a tensor's memory is freed
// with the tensor, writing to a tensor does not change the file. Truncating a file while one of its tensors is mapped
// ends the process with SIGBUS (base/lost_mapping.hpp explains that in a line).
SafetensorsFile read_safetensors(const std::filesystem::path& path);

// Tensors of any device are copied to the CPU. An existing file is replaced, not overwritten: tensors that are mapped
// from it keep their values. The file is synced, but not written atomically: callers write to a temporary path and
// rename it. The bytes depend only on the arguments. Throws Error; names must be unique and not "__metadata__". digest:
// updated with the file's bytes while they are written.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const SafetensorsMetadata& metadata = {}, Sha256* digest = nullptr);

}  // namespace maskedkd
