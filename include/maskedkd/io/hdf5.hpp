// HDF5 through one throwing, move-only handle type. Only what the shard format needs. The library is built without
// threads on most systems: where several of them use it, each holds one_at_a_time() for as long as it has a Handle.
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

// Owns any HDF5 identifier and closes it with the function that fits its type. HDF5's own error stack is turned off: an
// Error carries its innermost message instead.
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

// Files without object times, so that the same content is the same bytes. In memory, where what is not written costs
// nothing: a dataset of many gigabytes that is created but filled elsewhere.
Handle create_file_in_memory();
std::uint64_t size_in_memory(const Handle& file);  // after it was flushed
void read_from_memory(const Handle& file, std::uint64_t offset, std::span<std::uint8_t> out);
// The same, to be put at path by close_file; an empty file marks the place.
Handle create_file(const std::filesystem::path& path);
Handle open_file(const std::filesystem::path& path);  // read-only
// Writes what create_file began to the disk and closes it. Throws Error, also where the disk is full. Not synced.
void close_file(Handle file, const std::filesystem::path& path);
// Everything that was written so far is in the file's memory. The file can be read from then on.
void flush(const Handle& file);

// Contiguous, early-allocated datasets; shape row-major. create_dataset leaves the values to the caller.
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
