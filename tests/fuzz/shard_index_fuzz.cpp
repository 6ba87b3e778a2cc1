// Fuzzes a packed set's index.json: an input is its text. It must be refused by an Error of one line, or describe a
// possible set. See README.md.
#include "expect.hpp"
#include "maskedkd/shards/shard.hpp"

namespace maskedkd {

namespace {

bool is_digest(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

void check(const ShardIndex& index) {
  fuzz::expect(index.num_records > 0 && !index.shards.empty() && !index.class_names.empty(), "there are images");
  fuzz::expect(!index.set_id.empty() && index.set_id.find_first_not_of("0123456789abcdef") == std::string::npos,
               "a set_id can be a folder's name");
  fuzz::expect(index.class_names.size() == index.class_counts.size(), "a count a class");
  __int128 in_classes = 0, in_shards = 0;
  for (const std::int64_t count : index.class_counts) {
    fuzz::expect(count >= 0, "no count is negative");
    in_classes += count;
  }
  for (std::size_t i = 0; i < index.shards.size(); ++i) {
    const ShardIndexEntry& entry = index.shards[i];
    fuzz::expect(entry.name == shard_name(static_cast<std::int64_t>(i)), "each shard has its name");
    fuzz::expect(entry.num_records >= 0, "no shard has fewer records than none");
    fuzz::expect(entry.size_bytes <= INT64_MAX, "a size is one that a file can have");
    fuzz::expect(static_cast<unsigned __int128>(entry.bytes_offset) + entry.num_bytes <= entry.size_bytes,
                 "the records lie in the file");
    fuzz::expect(is_digest(entry.frame_sha256) && is_digest(entry.sha256), "digests are 64 hexadecimal digits");
    in_shards += entry.num_records;
  }
  fuzz::expect(in_classes == index.num_records && in_shards == index.num_records, "the counts add up");
}

}  // namespace
}  // namespace maskedkd

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t count) {
  using namespace maskedkd;
  const std::string text(reinterpret_cast<const char*>(bytes), count);
  fuzz::refused_in_one_line([&] {
    const ShardIndex index = parse_shard_index(text, "set/index.json");
    check(index);
    const std::string written = serialise(index);
    const ShardIndex again = parse_shard_index(written, "set/index.json");
    fuzz::expect(serialise(again) == written, "written and read as the same");
  });
  return 0;
}
