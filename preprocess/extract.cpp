#include "maskedkd/base/error.hpp"
#include "maskedkd/cli/options.hpp"
#include "maskedkd/codecs/file_check.hpp"
#include "maskedkd/codecs/image.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/shards/shard_tables.hpp"
#include "preprocess/inspect.hpp"

#include <cstdio>

namespace maskedkd {
namespace {

struct Position {
  std::size_t shard = 0, record = 0;
};

Position position_of(const ShardIndex& index, std::int64_t record) {
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
                   "Writes one image of a packed set to a file: as it was packed, or as PNG where the set stores "
                   "pixels.",
                   "maskedkd_pack extract packed/train --index 17 --output x.jpg");
  line.group("Set")
      .positional("DIR", directory, "folder of the packed set")
      .option("index", wanted, "number of the image in the set, from 0 (verify numbers the records of each shard)")
      .option("output", output, "file to write")
      .required("index")
      .required("output");
  if (!line.parse(argc, argv)) {
    std::fputs(line.help().c_str(), stdout);
    return 0;
  }
  const ShardIndex index = read_shard_index(directory);
  const auto [number, i] = position_of(index, wanted);
  ShardTables shard = open_shard(directory, index, number);
  shard.read_names();
  Record record;
  if (!shard.read(i, record, open_for_reading(shard.path()))) {
    throw Error(
        fmt::format("{}, {} has another checksum than when it was packed", shard.path().string(), shard.describe(i)),
        "maskedkd_pack verify names all damaged records");
  }
  if (index.encoding == RecordEncoding::raw) {
    write_png(output, decode_record(record, index.encoding));
  } else {
    write_file_atomically(output, {reinterpret_cast<const char*>(record.bytes.data()), record.bytes.size()});
  }
  const char* format = index.encoding == RecordEncoding::raw || !is_jpeg(record.bytes) ? "PNG" : "JPEG";
  fmt::print("{}: {} of {} x {} pixels, label {}; {}, {}\n", output.string(), format, record.shape.width,
             record.shape.height, record.label, shard.path().string(), shard.describe(i));
  return 0;
}

}  // namespace maskedkd
