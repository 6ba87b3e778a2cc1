// Reads the results of reference.py as types of the module codecs.
#pragma once

#include "maskedkd/codecs/image.hpp"
#include "maskedkd/io/safetensors.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace maskedkd::testing {

using Tensors = std::map<std::string, at::Tensor>;

inline std::filesystem::path reference_path(const std::string& name) {
  return std::filesystem::path(MASKEDKD_REFERENCE_DIR) / name;
}

inline Tensors reference(const std::string& name) { return read_safetensors(reference_path(name)).tensors; }

template <typename T>
std::vector<T> values_of(const at::Tensor& tensor) {
  const T* begin = tensor.const_data_ptr<T>();
  return std::vector<T>(begin, begin + tensor.numel());
}

// tensor: [height, width, 3] uint8
inline Image image_of(const at::Tensor& tensor) {
  return {static_cast<int>(tensor.size(0)), static_cast<int>(tensor.size(1)), values_of<std::uint8_t>(tensor)};
}

// The whole image or a box of it, resized.
inline Image resized(const Image& image, const PixelBox& box, int height, int width,
                     Interpolation interpolation = Interpolation::bicubic) {
  Image result{height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(height) * width * 3)};
  crop_and_resize({image, 0, 0}, box, height, width, {0, 0, height, width}, interpolation, result.pixels);
  return result;
}

struct Difference {
  std::size_t num_values = 0;
  std::size_t num_different = 0;
  int largest = 0;

  void add(const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& b) {
    ASSERT_EQ(a.size(), b.size());
    num_values += a.size();
    for (std::size_t i = 0; i < a.size(); ++i) {
      const int distance = std::abs(int{a[i]} - int{b[i]});
      num_different += distance != 0 ? 1 : 0;
      largest = std::max(largest, distance);
    }
  }
};

}  // namespace maskedkd::testing
