#include "maskedkd/base/error.hpp"
#include "maskedkd/cli/options.hpp"
#include "maskedkd/codecs/image.hpp"
#include "maskedkd/io/digest.hpp"
#include "maskedkd/io/posix.hpp"
#include "preprocess/inspect.hpp"
#include "preprocess/packed_shard.hpp"

#include <cstdio>

namespace maskedkd {
namespace {

struct Place {
  std::size_t shard = 0, record = 0;
};

Place place_of(const ShardIndex& index, std::int64_t record) {
  if (record < 0 || record >= index.num_records) {
    throw usage_error(fmt::format("--index {}: the set has records 0 to {}", record, index.num_records - 1));
  }
  std::size_t shard = 0;
  while (record >= index.shards[shard].num_records) {
    record -= index.shards[shard++].num_records;
  }
  return {shard, static_cast<std::size_t>(record)};
}

}  // namespace

int run_extract_command(int argc, const char* const* argv) {
  std::filesystem::path directory, output;
  std::int64_t wanted = 0;
  CommandLine line("maskedkd_pack extract",
                   "Writes one image of a packed set into a file: as it was packed, or as PNG where the set keeps "
                   "pixels.",
                   "maskedkd_pack extract packed/train --index 17 --output x.jpg");
  line.group("Set")
      .positional("DIR", directory, "folder of the packed set")
      .option("index", wanted, "of the image, from 0; verify and info count records of each shard")
      .option("output", output, "file to write")
      .required("index")
      .required("output");
  if (!line.parse(argc, argv)) {
    std::fputs(line.help().c_str(), stdout);
    return 0;
  }
  const ShardIndex index = read_shard_index(directory);
  const auto [number, i] = place_of(index, wanted);
  const PackedShard shard = open_packed_shard(directory, index, number);
  Record record;
  record.label = shard.tables.labels[i];
  record.shape = {shard.tables.shapes[3 * i], shard.tables.shapes[3 * i + 1], shard.tables.shapes[3 * i + 2]};
  record.bytes.resize(shard.tables.offsets[i + 1] - shard.tables.offsets[i]);
  read_exactly(open_for_reading(shard.path), shard.bytes_offset + shard.tables.offsets[i], record.bytes, shard.path);
  if (crc32_of(record.bytes) != shard.tables.checksums[i]) {
    throw Error(
        fmt::format("{}, {} has another checksum than when it was packed", shard.path.string(), shard.describe(i)),
        "maskedkd_pack verify names all that is damaged");
  }
  if (index.encoding == RecordEncoding::raw) {
    write_png(output, decode_record(record, index.encoding));
  } else {
    write_file_atomically(output, {reinterpret_cast<const char*>(record.bytes.data()), record.bytes.size()});
  }
  fmt::print("{}: {} x {} pixels, label {}; {}, {}\n", output.string(), record.shape.width, record.shape.height,
             record.label, shard.path.string(), shard.describe(i));
  return 0;
}

}  // namespace maskedkd
