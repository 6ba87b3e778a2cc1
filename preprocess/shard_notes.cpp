#include "preprocess/shard_notes.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"

#include <nlohmann/json.hpp>

namespace maskedkd {
namespace {

constexpr const char* kPrefix = ".packed-shard-";

std::filesystem::path note_path(const std::filesystem::path& directory, const std::string& shard) {
  return directory / (".packed-" + shard.substr(0, shard.rfind('.')) + ".json");
}

std::optional<ShardNote> parse_note(const std::string& text, const std::string& set_id, std::int64_t num_classes) {
  const auto json = nlohmann::json::parse(text);
  if (json.at("set_id") != set_id) {
    return std::nullopt;
  }
  ShardNote note;
  note.entry = parse_shard_entry(json.at("shard").dump());
  std::int64_t total = 0;
  for (const auto& pair : json.at("class_counts")) {
    const auto label = pair.at(0).get<std::int64_t>(), count = pair.at(1).get<std::int64_t>();
    if (label < 0 || label >= num_classes || count < 1 || count > note.entry.num_records ||
        !note.class_counts.emplace(label, count).second) {
      return std::nullopt;
    }
    total += count;
  }
  return total == note.entry.num_records ? std::optional(note) : std::nullopt;
}

}  // namespace

ShardNote make_note(ShardIndexEntry entry, const std::vector<std::int64_t>& class_counts) {
  ShardNote note;
  note.entry = std::move(entry);
  for (std::size_t label = 0; label < class_counts.size(); ++label) {
    if (class_counts[label] > 0) {
      note.class_counts[static_cast<std::int64_t>(label)] = class_counts[label];
    }
  }
  return note;
}

void write_note(const std::filesystem::path& directory, const std::string& set_id, const ShardNote& note) {
  nlohmann::ordered_json json = {{"set_id", set_id},
                                 {"shard", nlohmann::ordered_json::parse(serialise(note.entry))},
                                 {"class_counts", nlohmann::ordered_json::array()}};
  for (const auto& [label, count] : note.class_counts) {
    json["class_counts"].push_back({label, count});
  }
  write_file_atomically(note_path(directory, note.entry.name), json.dump() + "\n");
}

std::optional<ShardNote> read_note_of_intact_shard(const std::filesystem::path& directory, const std::string& set_id,
                                                   std::int64_t shard, std::int64_t num_classes) {
  const std::string name = shard_name(shard);
  const std::filesystem::path path = directory / name;
  if (!path_exists(note_path(directory, name)) || !path_exists(path)) {
    return std::nullopt;
  }
  try {
    const auto note = parse_note(read_text_file(note_path(directory, name)), set_id, num_classes);
    if (!note || note->entry.name != name || std::filesystem::file_size(path) != note->entry.size_bytes ||
        sha256_of_file(path) != note->entry.sha256) {
      return std::nullopt;
    }
    return note;
  } catch (const FileError&) {
    throw;                           // the shard may be intact
  } catch (const std::exception&) {  // the note or the shard is damaged
    return std::nullopt;
  }
}

bool is_note_name(const std::string& name) { return name.starts_with(kPrefix) && name.ends_with(".json"); }

void remove_notes(const std::filesystem::path& directory) {
  for (const std::string& name : list_directory(directory)) {
    if (is_note_name(name)) {
      remove_file(directory / name);
    }
  }
}

}  // namespace maskedkd
