#include "preprocess/file_list.hpp"

#include "maskedkd/base/error.hpp"

#include <cstring>

namespace maskedkd {
namespace {

template <typename T>
void put(std::string& out, const T* values, std::size_t count) {
  const std::uint64_t bytes = count * sizeof(T);
  out.append(reinterpret_cast<const char*>(&bytes), sizeof(bytes));
  out.append(reinterpret_cast<const char*>(values), bytes);
}

template <typename Container>
void take(std::string_view& text, Container& values) {
  std::uint64_t bytes = 0;
  if (text.size() < sizeof(bytes)) {
    throw Error("another rank sent an incomplete list of files");
  }
  std::memcpy(&bytes, text.data(), sizeof(bytes));
  text.remove_prefix(sizeof(bytes));
  if (bytes > text.size()) {
    throw Error("another rank sent an incomplete list of files");
  }
  values.resize(bytes / sizeof(typename Container::value_type));
  std::memcpy(values.data(), text.data(), bytes);
  text.remove_prefix(bytes);
}

}  // namespace

void FileList::append(std::string_view path, std::int32_t label, std::uint64_t size_bytes) {
  paths_ += path;
  ends_.push_back(paths_.size());
  labels_.push_back(label);
  sizes_.push_back(size_bytes);
}

void FileList::append(const FileList& other) {
  const std::uint64_t before = paths_.size();
  paths_ += other.paths_;
  for (const std::uint64_t end : other.ends_) {
    ends_.push_back(before + end);
  }
  labels_.insert(labels_.end(), other.labels_.begin(), other.labels_.end());
  sizes_.insert(sizes_.end(), other.sizes_.begin(), other.sizes_.end());
}

std::string_view FileList::path(std::int64_t i) const {
  const auto at = static_cast<std::size_t>(i);
  const std::uint64_t begin = at == 0 ? 0 : ends_.at(at - 1);
  return std::string_view(paths_).substr(begin, ends_.at(at) - begin);
}

void FileList::serialise_to(std::string& out) const {
  put(out, paths_.data(), paths_.size());
  put(out, ends_.data(), ends_.size());
  put(out, labels_.data(), labels_.size());
  put(out, sizes_.data(), sizes_.size());
}

FileList FileList::parse(std::string_view& text) {
  FileList list;
  take(text, list.paths_);
  take(text, list.ends_);
  take(text, list.labels_);
  take(text, list.sizes_);
  return list;
}

}  // namespace maskedkd
