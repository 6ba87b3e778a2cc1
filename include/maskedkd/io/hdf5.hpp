// HDF5 through one throwing, move-only handle type, as far as the shard format needs it. On most systems the library is
// not built to be thread-safe: a thread locks one_at_a_time() for as long as it has a Handle.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace maskedkd::hdf5 {

std::mutex& one_at_a_time();

// Owns an HDF5 identifier of any type, and closes it. HDF5 prints no error messages: an Error carries the innermost one
// instead.
class Handle {
 public:
  Handle() = default;
  explicit Handle(hid_t id) noexcept : id_(id) {}
  Handle(Handle&& other) noexcept;
  Handle& operator=(Handle&& other) noexcept;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle();
  hid_t get() const noexcept { return id_; }

 private:
  hid_t id_ = H5I_INVALID_HID;
};

// A file in memory, without object times, so that the same content gives the same bytes. A dataset that is created but
// not written takes no memory, however large it is.
Handle create_file_in_memory();
std::uint64_t size_in_memory(const Handle& file);  // call flush() first
void read_from_memory(const Handle& file, std::uint64_t offset, std::span<std::uint8_t> out);
// Moves everything that was written so far from HDF5's buffers to the file in memory.
void flush(const Handle& file);
Handle open_file(const std::filesystem::path& path);  // read-only

// Contiguous datasets that are allocated when they are created; row-major shape. create_dataset writes no values.
template <typename T>
void create_dataset(const Handle& file, const std::string& name, const std::vector<std::uint64_t>& shape);
template <typename T>
void write_dataset(const Handle& file, const std::string& name, std::span<const T> values,
                   const std::vector<std::uint64_t>& shape);

struct DatasetInfo {
  std::vector<std::uint64_t> shape;
  bool contiguous = false;
  std::uint64_t file_offset = 0;  // of the first byte, where contiguous and not empty
  std::string type;               // "uint8", "int32", "uint32", "int64", "uint64" or "other"
};
bool has_dataset(const Handle& file, const std::string& name);
DatasetInfo describe_dataset(const Handle& file, const std::string& name);
// Throws Error unless the dataset's type is T.
template <typename T>
std::vector<T> read_dataset(const Handle& file, const std::string& name);

void write_attribute(const Handle& file, const std::string& name, std::int64_t value);
void write_attribute(const Handle& file, const std::string& name, const std::string& value);
void write_attribute(const Handle& file, const std::string& name, std::span<const std::int64_t> values);
void write_attribute(const Handle& file, const std::string& name, std::span<const std::string> values);
std::int64_t read_integer_attribute(const Handle& file, const std::string& name);
std::string read_string_attribute(const Handle& file, const std::string& name);
std::vector<std::int64_t> read_integer_list_attribute(const Handle& file, const std::string& name);
std::vector<std::string> read_string_list_attribute(const Handle& file, const std::string& name);

}  // namespace maskedkd::hdf5
