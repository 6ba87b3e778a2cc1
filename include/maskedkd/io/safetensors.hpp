// The safetensors format (https://huggingface.co/docs/safetensors): 8 bytes little-endian header length, a JSON header
// {name: {dtype, shape, data_offsets}}, then the bytes. Strict: a file that breaks a rule is refused with the name of
// the tensor and the rule, and nothing is allocated from an unchecked number. Weights and checkpoints travel in it.
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

// What the file holds, with the same checks and errors as read_safetensors; no tensor's bytes are read.
SafetensorsHeader read_safetensors_header(const std::filesystem::path& path);

// dtypes F64, F32, F16, BF16, I64, I32, U8, BOOL; header of at most 100 MB; the ranges must cover the data exactly
// without overlap or hole, in any order. Throws Error, which names what the file is where it is something else.
// Large tensors are private mappings, each of its own pages: nothing is read before it is used, letting go of a tensor
// lets go of its memory, writing into one never reaches the file. A file that is cut while a tensor of it lives ends
// the process with SIGBUS (base/lost_mapping.hpp makes that a line).
SafetensorsFile read_safetensors(const std::filesystem::path& path);

// Tensors of any device are copied to the CPU. A file of that name is replaced, never written into: tensors mapped from
// it stay whole. The file is synced, but not written atomically: callers write to a temporary path and rename it. The
// bytes are a function of the arguments alone. Throws Error; names
// must be unique and not "__metadata__". digest: takes in the file's bytes, of memory, while they are written.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const SafetensorsMetadata& metadata = {}, Sha256* digest = nullptr);

}  // namespace maskedkd
