// Writes and reads index.json.
#include "maskedkd/base/error.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/strict_json.hpp"
#include "maskedkd/shards/shard.hpp"

#include <nlohmann/json.hpp>

#include <limits>

namespace maskedkd {
namespace {

using nlohmann::json;

// ImageNet-21k has 21,841 classes; a million shards of the default size are 250 TB.
constexpr JsonLimits kLimits{.depth = 4, .list_length = 1'000'000, .values = 10'000'000};
constexpr std::size_t kDigestLength = 64;

[[noreturn]] void refuse(const std::string& why) { throw Error(why); }

// Whether the directory, which has no index, holds shards of an interrupted packing, finished or not.
bool holds_unfinished_packing(const std::filesystem::path& directory) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("shard-", 0) == 0 || name.rfind(".tmp-shard-", 0) == 0) {
      return true;
    }
  }
  return false;
}

const json& member(const json& object, const char* key) {
  const auto value = object.find(key);
  if (value == object.end()) {
    refuse(fmt::format("lacks {}", key));
  }
  return *value;
}

std::int64_t whole(const json& value, std::string_view name) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
    refuse(fmt::format("has a {} that is not a whole number", printable_name(name)));
  }
  return value.get<std::int64_t>();
}

std::int64_t whole_number(const json& object, const char* key) { return whole(member(object, key), key); }

const std::string& text_of(const json& object, const char* key) {
  const json& value = member(object, key);
  if (!value.is_string()) {
    refuse(fmt::format("has a {} that is not a string", key));
  }
  return value.get_ref<const std::string&>();
}

const json& list_of(const json& object, const char* key) {
  const json& value = member(object, key);
  if (!value.is_array() || value.empty()) {
    refuse(fmt::format("has a {} that is not a list, or is empty", key));
  }
  return value;
}

std::string digest_of(const json& object, const char* key) {
  const std::string& text = text_of(object, key);
  if (text.size() != kDigestLength || text.find_first_not_of("0123456789abcdef") != std::string::npos) {
    refuse(fmt::format("has a {} that is not 64 lower-case hex digits", key));
  }
  return text;
}

// Checked, as --stage-to copies into a folder of this name.
const std::string& set_id_of(const json& content) {
  const std::string& id = text_of(content, "set_id");
  if (id.empty() || id.size() > kDigestLength || id.find_first_not_of("0123456789abcdef") != std::string::npos) {
    refuse("has a set_id that is not 1 to 64 lower-case hex digits");
  }
  return id;
}

std::int64_t sum_of(std::int64_t a, std::int64_t b) {
  if (__builtin_add_overflow(a, b, &a)) {
    refuse("has counts whose sum overflows");
  }
  return a;
}

std::vector<std::string> class_names_of(const json& content) {
  std::vector<std::string> names;
  for (const json& name : list_of(content, "class_names")) {
    if (!name.is_string()) {
      refuse("has a class name that is not a string");
    }
    names.push_back(name.get<std::string>());
  }
  return names;
}

std::vector<std::int64_t> class_counts_of(const json& content, std::int64_t num_records) {
  std::vector<std::int64_t> counts;
  std::int64_t total = 0;
  for (const json& count : list_of(content, "class_counts")) {
    counts.push_back(whole(count, "class count"));
    total = sum_of(total, counts.back());
  }
  if (total != num_records) {
    refuse("has class counts that don't add up to num_records");
  }
  return counts;
}

std::map<std::string, std::int64_t> odd_of(const json& content) {
  std::map<std::string, std::int64_t> odd;
  const auto given = content.find("odd");
  if (given == content.end()) {
    return odd;
  }
  if (!given->is_object()) {
    refuse("has an odd that is not an object");
  }
  for (const auto& [name, count] : given->items()) {
    odd[name] = whole(count, name);
  }
  return odd;
}

template <typename Value, std::size_t N>
Value named_value(const json& object, const char* key, const EnumNames<Value, N>& names) {
  const std::string& text = text_of(object, key);
  const std::optional<Value> value = find_name(names, text);
  if (!value) {
    refuse(fmt::format("has the unknown {} {}", key, quoted_name(text)));
  }
  return *value;
}

ShardIndexEntry entry_of(const json& object) {
  if (!object.is_object()) {
    refuse("is not an object");
  }
  ShardIndexEntry entry;
  entry.name = text_of(object, "name");
  entry.num_records = whole_number(object, "num_records");
  entry.size_bytes = static_cast<std::uint64_t>(whole_number(object, "size_bytes"));
  entry.bytes_offset = static_cast<std::uint64_t>(whole_number(object, "bytes_offset"));
  entry.num_bytes = static_cast<std::uint64_t>(whole_number(object, "num_bytes"));
  entry.frame_sha256 = digest_of(object, "frame_sha256");
  entry.odd = odd_of(object);
  entry.check = named_value(object, "check", kFileChecks);
  entry.sha256 = digest_of(object, "sha256");
  if (entry.bytes_offset > entry.size_bytes || entry.num_bytes > entry.size_bytes - entry.bytes_offset) {
    refuse("has records that extend past the end of the file");
  }
  return entry;
}

std::vector<ShardIndexEntry> shards_of(const json& content, std::int64_t num_records) {
  std::vector<ShardIndexEntry> shards;
  std::int64_t total = 0;
  for (const json& object : list_of(content, "shards")) {
    const std::string expected = shard_name(static_cast<std::int64_t>(shards.size()));
    try {
      shards.push_back(entry_of(object));
    } catch (const Error& error) {
      refuse(fmt::format("has an impossible entry for {}: it {}", expected, error.what()));
    }
    if (shards.back().name != expected) {
      refuse(fmt::format("lists the shard {} where {} must be", quoted_name(shards.back().name), expected));
    }
    total = sum_of(total, shards.back().num_records);
  }
  if (total != num_records) {
    refuse("has shards whose records don't add up to num_records");
  }
  return shards;
}

nlohmann::ordered_json json_of(const ShardIndexEntry& entry) {
  nlohmann::ordered_json object = {{"name", entry.name},
                                   {"num_records", entry.num_records},
                                   {"size_bytes", entry.size_bytes},
                                   {"bytes_offset", entry.bytes_offset},
                                   {"num_bytes", entry.num_bytes},
                                   {"frame_sha256", entry.frame_sha256},
                                   {"sha256", entry.sha256},
                                   {"check", name_of(kFileChecks, entry.check)}};
  if (!entry.odd.empty()) {
    object["odd"] = entry.odd;
  }
  return object;
}

}  // namespace

std::string shard_name(std::int64_t shard_index) { return fmt::format("shard-{:05}.h5", shard_index); }

std::string serialise(const ShardIndexEntry& entry) { return json_of(entry).dump(); }

ShardIndexEntry parse_shard_entry(std::string_view text) {
  try {
    return entry_of(parse_strict_json(text, kLimits));
  } catch (const JsonRefusal& refusal) {
    throw Error(refusal.what());
  }
}

std::string serialise(const ShardIndex& index) {
  nlohmann::ordered_json shards = nlohmann::ordered_json::array();
  for (const ShardIndexEntry& entry : index.shards) {
    shards.push_back(json_of(entry));
  }
  const nlohmann::ordered_json json = {{"format_version", kShardFormatVersion},
                                       {"encoding", name_of(kRecordEncodings, index.encoding)},
                                       {"set_id", index.set_id},
                                       {"num_records", index.num_records},
                                       {"class_names", index.class_names},
                                       {"class_counts", index.class_counts},
                                       {"shards", shards}};
  // Class names may be any bytes to a caller of this function: those that are not UTF-8 are replaced.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

ShardIndex parse_shard_index(std::string_view text, const std::filesystem::path& path) {
  try {
    const json content = parse_strict_json(text, kLimits);
    if (const std::int64_t version = whole_number(content, "format_version"); version != kShardFormatVersion) {
      throw OtherFormat(
          fmt::format("{} has format {}, this program reads {}", path.string(), version, kShardFormatVersion),
          kOtherFormatHint, ExitCode::usage);
    }
    ShardIndex index;
    index.encoding = named_value(content, "encoding", kRecordEncodings);
    index.set_id = set_id_of(content);
    index.num_records = whole_number(content, "num_records");
    index.class_names = class_names_of(content);
    index.class_counts = class_counts_of(content, index.num_records);
    index.shards = shards_of(content, index.num_records);
    if (index.class_counts.size() != index.class_names.size()) {
      refuse("has different numbers of class_counts and class_names");
    }
    if (index.num_records == 0) {
      refuse("lists no images");
    }
    return index;
  } catch (const OtherFormat&) {
    throw;
  } catch (const std::runtime_error& error) {
    throw usage_error(fmt::format("{} is not a valid index of packed images: it {}", path.string(), error.what()),
                      kRepairIndexHint);
  }
}

ShardIndex read_shard_index(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / kShardIndexName;
  if (!path_exists(directory)) {
    throw usage_error(fmt::format("the folder {} does not exist", directory.string()),
                      "check the path, or pack images into it with maskedkd_pack");
  }
  if (!std::filesystem::is_directory(directory)) {
    throw usage_error(fmt::format("{} is not a folder with packed images", directory.string()),
                      "pack them with maskedkd_pack");
  }
  if (!path_exists(path)) {
    std::vector<std::string> below;
    for (const char* name : {"train", "val", "test"}) {
      if (std::filesystem::exists(directory / name / kShardIndexName)) {
        below.push_back((directory / name).string());
      }
    }
    if (!below.empty()) {
      throw usage_error(fmt::format("{} is not a packed set, but contains some", directory.string()),
                        fmt::format("name {}", fmt::join(below, " or ")));
    }
    const bool begun = holds_unfinished_packing(directory);
    throw usage_error(fmt::format("{} has no {}{}", directory.string(), kShardIndexName,
                                  begun ? ": its packing was interrupted" : ""),
                      begun ? "start maskedkd_pack again with the same options" : "pack the images with maskedkd_pack");
  }
  return parse_shard_index(read_text_file(path), path);
}

std::filesystem::path find_set(const std::filesystem::path& directory, std::string_view name) {
  const auto is_set = [](const std::filesystem::path& folder) {
    return std::filesystem::exists(folder / kShardIndexName);
  };
  return !is_set(directory) && is_set(directory / name) ? directory / name : directory;
}

}  // namespace maskedkd
