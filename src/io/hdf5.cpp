#include "maskedkd/io/hdf5.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <utility>

namespace maskedkd::hdf5 {
namespace {

// The innermost reason on HDF5's error stack, which is then emptied.
std::string reason() {
  std::string text = "no reason given";
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_DOWNWARD,
      [](unsigned, const H5E_error2_t* error, void* out) -> herr_t {
        *static_cast<std::string*>(out) = error->desc != nullptr ? error->desc : "";
        return 0;
      },
      &text);
  H5Eclear2(H5E_DEFAULT);
  return text;
}

void turn_off_error_printing() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

hid_t check(hid_t result, const std::string& what) {
  if (result >= 0) {
    return result;
  }
  const std::string why = reason();
  // An error of the operating system: "file read failed: ..., errno = 5, error message = ...".
  if (const std::size_t at = why.rfind("errno = "); at != std::string::npos) {
    throw FileError("HDF5", what, std::atoi(why.c_str() + why.find('=', at) + 1));
  }
  throw Error(fmt::format("HDF5 {}: {}", what, why));
}

Handle owned(hid_t id, const std::string& what) { return Handle(check(id, what)); }

struct NamedType {
  const char* name;
  hid_t id;
};
// A function, because the macros H5T_* call the library.
std::array<NamedType, 5> known_types() {
  return {{{"uint8", H5T_STD_U8LE},
           {"int32", H5T_STD_I32LE},
           {"uint32", H5T_STD_U32LE},
           {"int64", H5T_STD_I64LE},
           {"uint64", H5T_STD_U64LE}}};
}

template <typename T>
hid_t type_of() {
  if constexpr (std::is_same_v<T, std::uint8_t>) {
    return H5T_STD_U8LE;
  } else if constexpr (std::is_same_v<T, std::int32_t>) {
    return H5T_STD_I32LE;
  } else if constexpr (std::is_same_v<T, std::uint32_t>) {
    return H5T_STD_U32LE;
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    return H5T_STD_I64LE;
  } else {
    static_assert(std::is_same_v<T, std::uint64_t>);
    return H5T_STD_U64LE;
  }
}

Handle open_dataset(const Handle& file, const std::string& name) {
  return owned(H5Dopen2(file.get(), name.c_str(), H5P_DEFAULT), "can't open dataset " + name);
}

// HDF5's locks fail on network file systems without locks; writers hold a DirectoryLock instead. The variable, which
// module files of clusters set, overrides every call. It is set before main(), while no thread reads the environment.
[[maybe_unused]] const int kWithoutLocks = ::setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1);

Handle string_type() {
  Handle type = owned(H5Tcopy(H5T_C_S1), "can't make a string type");
  check(H5Tset_size(type.get(), H5T_VARIABLE), "can't size a string type");
  check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "can't set a string's character set");
  return type;
}

void write_values(const Handle& file, const std::string& name, hid_t type, const Handle& space, const void* values) {
  const Handle attribute = owned(H5Acreate2(file.get(), name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT),
                                 "can't create attribute " + name);
  check(H5Awrite(attribute.get(), type, values), "can't write attribute " + name);
}

Handle scalar_space() { return owned(H5Screate(H5S_SCALAR), "can't make a scalar"); }

Handle list_space(std::size_t length) {
  const hsize_t size = length;
  return owned(H5Screate_simple(1, &size, nullptr), "can't make a list");
}

// The descriptor of a file in memory.
int descriptor_of(const Handle& file) {
  void* driver = nullptr;
  check(H5Fget_vfd_handle(file.get(), H5P_DEFAULT, &driver), "has no file in memory");
  return ::fileno(*static_cast<FILE**>(driver));
}

// Throws where the file would exceed the limit on the size of files, which holds for those in memory too: HDF5 crashes
// where it can't write.
void require_allowed_size(std::uint64_t bytes) {
  constexpr std::uint64_t kOwnBytes = std::uint64_t{1} << 18;  // an upper bound for headers and heaps
  rlimit limit{};
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
      (limit.rlim_cur < kOwnBytes || bytes > limit.rlim_cur - kOwnBytes)) {
    throw Error(fmt::format("{} (this process may write files of {} bytes)", std::strerror(EFBIG),
                            static_cast<std::uint64_t>(limit.rlim_cur)),
                "ulimit -f unlimited");
  }
}

void require_allowed_growth(const Handle& file, std::uint64_t more_bytes) {
  hsize_t size = 0;
  check(H5Fget_filesize(file.get(), &size), "can't size a file in memory");
  require_allowed_size(size + more_bytes);
}

Handle new_dataset(const Handle& file, const std::string& name, hid_t type, const std::vector<std::uint64_t>& shape) {
  const std::vector<hsize_t> sides(shape.begin(), shape.end());
  require_allowed_growth(file,
                         std::accumulate(sides.begin(), sides.end(), hsize_t{H5Tget_size(type)}, std::multiplies<>()));
  const Handle space =
      owned(H5Screate_simple(static_cast<int>(sides.size()), sides.data(), nullptr), "can't shape " + name);
  const Handle creation = owned(H5Pcreate(H5P_DATASET_CREATE), "can't set up " + name);
  check(H5Pset_layout(creation.get(), H5D_CONTIGUOUS), "can't lay out " + name);
  check(H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY), "can't allocate " + name);
  check(H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER), "can't set up " + name);
  check(H5Pset_obj_track_times(creation.get(), false), "can't set up " + name);
  return owned(H5Dcreate2(file.get(), name.c_str(), type, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
               "can't create dataset " + name);
}

struct OpenAttribute {
  Handle attribute;
  std::size_t length;
};
OpenAttribute open_attribute(const Handle& file, const std::string& name, H5T_class_t expected) {
  OpenAttribute opened{owned(H5Aopen(file.get(), name.c_str(), H5P_DEFAULT), "has no attribute " + name), 0};
  const Handle type = owned(H5Aget_type(opened.attribute.get()), "can't read attribute " + name);
  if (H5Tget_class(type.get()) != expected || (expected == H5T_STRING && H5Tis_variable_str(type.get()) <= 0)) {
    throw Error(fmt::format("HDF5 attribute {} has another type", name));
  }
  const Handle space = owned(H5Aget_space(opened.attribute.get()), "can't read attribute " + name);
  const hssize_t length = H5Sget_simple_extent_npoints(space.get());
  opened.length = static_cast<std::size_t>(check(length, "can't size attribute " + name));
  return opened;
}

}  // namespace

Handle::Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}

Handle& Handle::operator=(Handle&& other) noexcept {
  std::swap(id_, other.id_);
  return *this;
}

Handle::~Handle() {
  if (id_ >= 0) {
    H5Idec_ref(id_);
  }
}

std::mutex& one_at_a_time() {
  static std::mutex mutex;
  return mutex;
}

// HDF5 1.10 crashes when it closes a file that it could not write. Therefore it writes to a file in memory, which the
// caller copies.
Handle create_file_in_memory() {
  turn_off_error_printing();
  require_allowed_size(0);
  const FileDescriptor memory(::memfd_create("maskedkd", MFD_CLOEXEC));
  if (memory.get() < 0) {
    throw Error(fmt::format("can't make a file in memory: {}", std::strerror(errno)));
  }
  const Handle access = owned(H5Pcreate(H5P_FILE_ACCESS), "can't set up a file");
  // The default driver needs a path, which a file in memory does not have.
  check(H5Pset_fapl_stdio(access.get()), "can't set up a file in memory");
  check(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_LATEST), "can't set a file's version");
  // Objects share no blocks, so that the offset of one does not depend on what is written after it.
  check(H5Pset_meta_block_size(access.get(), 0), "can't set up a file in memory");
  check(H5Pset_small_data_block_size(access.get(), 0), "can't set up a file in memory");
  const Handle creation = owned(H5Pcreate(H5P_FILE_CREATE), "can't set up a file");
  check(H5Pset_obj_track_times(creation.get(), false), "can't leave out times");
  // Attributes are stored in a heap: in an object's header they are limited to 64 KiB, which 4,000 class names exceed.
  check(H5Pset_attr_phase_change(creation.get(), 0, 0), "can't store attributes in a heap");
  const std::string path = fmt::format("/proc/self/fd/{}", memory.get());
  return owned(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), "can't create a file in memory");
}

void flush(const Handle& file) { check(H5Fflush(file.get(), H5F_SCOPE_GLOBAL), "can't write a file in memory"); }

std::uint64_t size_in_memory(const Handle& file) {
  struct stat status {};
  if (fstat(descriptor_of(file), &status) != 0) {
    throw Error(fmt::format("can't size a file in memory: {}", std::strerror(errno)));
  }
  return static_cast<std::uint64_t>(status.st_size);
}

void read_from_memory(const Handle& file, std::uint64_t offset, std::span<std::uint8_t> out) {
  while (!out.empty()) {
    const ssize_t count = ::pread(descriptor_of(file), out.data(), out.size(), static_cast<off_t>(offset));
    if (count <= 0) {
      throw Error(fmt::format("a file in memory ends at byte {}", offset));
    }
    out = out.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
}

Handle open_file(const std::filesystem::path& path) {
  turn_off_error_printing();
  return owned(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), "can't open " + path.string());
}

template <typename T>
void create_dataset(const Handle& file, const std::string& name, const std::vector<std::uint64_t>& shape) {
  new_dataset(file, name, type_of<T>(), shape);
}

template <typename T>
void write_dataset(const Handle& file, const std::string& name, std::span<const T> values,
                   const std::vector<std::uint64_t>& shape) {
  const Handle dataset = new_dataset(file, name, type_of<T>(), shape);
  if (!values.empty()) {
    check(H5Dwrite(dataset.get(), type_of<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
          "can't write dataset " + name);
  }
}

bool has_dataset(const Handle& file, const std::string& name) {
  return check(H5Lexists(file.get(), name.c_str(), H5P_DEFAULT), "can't look for dataset " + name) > 0;
}

DatasetInfo describe_dataset(const Handle& file, const std::string& name) {
  const Handle dataset = open_dataset(file, name);
  DatasetInfo info;
  const Handle space = owned(H5Dget_space(dataset.get()), "can't read the shape of " + name);
  const int rank = H5Sget_simple_extent_ndims(space.get());
  std::vector<hsize_t> sides(static_cast<std::size_t>(check(rank, "can't read the shape of " + name)));
  check(H5Sget_simple_extent_dims(space.get(), sides.data(), nullptr), "can't read the shape of " + name);
  info.shape.assign(sides.begin(), sides.end());
  const Handle creation = owned(H5Dget_create_plist(dataset.get()), "can't read the layout of " + name);
  info.contiguous = H5Pget_layout(creation.get()) == H5D_CONTIGUOUS && H5Pget_external_count(creation.get()) == 0;
  const haddr_t offset = H5Dget_offset(dataset.get());
  info.file_offset = offset == HADDR_UNDEF ? 0 : offset;
  H5Eclear2(H5E_DEFAULT);
  const Handle type = owned(H5Dget_type(dataset.get()), "can't read the type of " + name);
  info.type = "other";
  for (const auto& known : known_types()) {
    if (H5Tequal(type.get(), known.id) > 0) {
      info.type = known.name;
    }
  }
  return info;
}

template <typename T>
std::vector<T> read_dataset(const Handle& file, const std::string& name) {
  const DatasetInfo info = describe_dataset(file, name);
  for (const auto& known : known_types()) {
    if (known.id == type_of<T>() && info.type != known.name) {
      throw Error(fmt::format("HDF5 dataset {} holds {} instead of {}", name, info.type, known.name));
    }
  }
  std::uint64_t count = 1;
  for (const std::uint64_t side : info.shape) {
    if (__builtin_mul_overflow(count, side, &count)) {
      throw Error(fmt::format("HDF5 dataset {} has an impossible shape", name));
    }
  }
  const Handle dataset = open_dataset(file, name);
  // Checked before memory is allocated: the shape in a damaged file may be of any size.
  if (count > 0 && H5Dget_storage_size(dataset.get()) / sizeof(T) < count) {
    throw Error(fmt::format("HDF5 dataset {} is shorter than its shape", name));
  }
  hsize_t file_bytes = 0;
  check(H5Fget_filesize(file.get(), &file_bytes), "can't size the file");
  if (count > file_bytes / sizeof(T)) {
    throw Error(fmt::format("HDF5 dataset {} is longer than its file", name));
  }
  std::vector<T> values(count);
  if (count > 0) {
    check(H5Dread(dataset.get(), type_of<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
          "can't read dataset " + name);
  }
  return values;
}

#define MASKEDKD_INSTANTIATE(T)                                                                          \
  template void create_dataset<T>(const Handle&, const std::string&, const std::vector<std::uint64_t>&); \
  template void write_dataset<T>(const Handle&, const std::string&, std::span<const T>,                  \
                                 const std::vector<std::uint64_t>&);                                     \
  template std::vector<T> read_dataset<T>(const Handle&, const std::string&)
MASKEDKD_INSTANTIATE(std::uint8_t);
MASKEDKD_INSTANTIATE(std::int32_t);
MASKEDKD_INSTANTIATE(std::uint32_t);
MASKEDKD_INSTANTIATE(std::int64_t);
MASKEDKD_INSTANTIATE(std::uint64_t);
#undef MASKEDKD_INSTANTIATE

void write_attribute(const Handle& file, const std::string& name, std::int64_t value) {
  write_values(file, name, H5T_STD_I64LE, scalar_space(), &value);
}

void write_attribute(const Handle& file, const std::string& name, const std::string& value) {
  const char* text = value.c_str();
  write_values(file, name, string_type().get(), scalar_space(), &text);
}

void write_attribute(const Handle& file, const std::string& name, std::span<const std::int64_t> values) {
  write_values(file, name, H5T_STD_I64LE, list_space(values.size()), values.data());
}

void write_attribute(const Handle& file, const std::string& name, std::span<const std::string> values) {
  std::vector<const char*> texts;
  std::uint64_t bytes = 0;
  for (const std::string& value : values) {
    constexpr std::uint64_t kBesideEach = 64;
    bytes += value.size() + kBesideEach;
    texts.push_back(value.c_str());
  }
  require_allowed_growth(file, bytes);
  write_values(file, name, string_type().get(), list_space(texts.size()), texts.data());
}

std::vector<std::int64_t> read_integer_list_attribute(const Handle& file, const std::string& name) {
  const auto [attribute, length] = open_attribute(file, name, H5T_INTEGER);
  std::vector<std::int64_t> values(length);
  check(H5Aread(attribute.get(), H5T_STD_I64LE, values.data()), "can't read attribute " + name);
  return values;
}

std::vector<std::string> read_string_list_attribute(const Handle& file, const std::string& name) {
  const auto [attribute, length] = open_attribute(file, name, H5T_STRING);
  std::vector<char*> texts(length, nullptr);
  const Handle type = string_type();
  check(H5Aread(attribute.get(), type.get(), texts.data()), "can't read attribute " + name);
  std::vector<std::string> values;
  for (char* text : texts) {
    values.emplace_back(text != nullptr ? text : "");
    H5free_memory(text);
  }
  return values;
}

std::int64_t read_integer_attribute(const Handle& file, const std::string& name) {
  const auto values = read_integer_list_attribute(file, name);
  if (values.size() != 1) {
    throw Error(fmt::format("HDF5 attribute {} is not a single number", name));
  }
  return values.front();
}

std::string read_string_attribute(const Handle& file, const std::string& name) {
  const auto values = read_string_list_attribute(file, name);
  if (values.size() != 1) {
    throw Error(fmt::format("HDF5 attribute {} is not a single string", name));
  }
  return values.front();
}

}  // namespace maskedkd::hdf5
