// From the bytes of JPEG files to a model's input, as in the loader, on one core; decode_bench.py makes the files and
// alternates with PIL and torchvision.
//   decode_bench FOLDER PASSES MODE
// FOLDER: 000.jpg, 001.jpg, ... and boxes.txt, a line "top left height width" of each. MODE:
//   decode       the whole file
//   train        the box, resized to 224 x 224, bicubic
//   evaluate     the shorter edge to 256, bicubic, centre crop of 224
//   region       what `train` decodes      check        check_image_file()
//   portable, avx2, avx512                 what `train` resizes, in this way
// Prints per image: microseconds of processor time and of wall time; then the sum of all bytes of one pass and the mean
// size of a file in bytes.
#include "codecs/resample_path.hpp"
#include "maskedkd/augment/augment.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/codecs/file_check.hpp"

#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <fstream>
#include <iterator>
#include <map>
#include <numeric>
#include <string>

namespace {

using namespace maskedkd;

constexpr int kSide = 224;
constexpr PixelBox kAll = {0, 0, kSide, kSide};

struct Sample {
  Record record;
  PixelBox box;
  ImageRegion region;
};

std::vector<Sample> read_samples(const std::string& folder) {
  std::vector<Sample> samples;
  std::ifstream boxes(folder + "/boxes.txt");
  for (PixelBox box; boxes >> box.top >> box.left >> box.height >> box.width;) {
    std::ifstream file(fmt::format("{}/{:03}.jpg", folder, samples.size()), std::ios::binary);
    Sample sample{{{std::istreambuf_iterator<char>(file), {}}, 0, {}}, box, {}};
    sample.record.shape = read_image_shape(sample.record.bytes);
    sample.region = decode_record_region(sample.record, RecordEncoding::file, box);
    samples.push_back(std::move(sample));
  }
  return samples;
}

std::uint64_t sum_of(const std::vector<std::uint8_t>& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), std::uint64_t{0});
}

// Processes a sample; `out` is reused like a batch's memory.
using Work = std::uint64_t (*)(const Sample& sample, std::vector<std::uint8_t>& out, bool sum);

template <ResamplePath path>
std::uint64_t resize(const Sample& sample, std::vector<std::uint8_t>& out, bool sum) {
  crop_and_resize_by(path, sample.region, sample.box, kSide, kSide, kAll, Interpolation::bicubic, out);
  return sum ? sum_of(out) : 0;
}

const std::map<std::string, Work> kModes = {
    {"decode",
     [](const Sample& sample, std::vector<std::uint8_t>&, bool sum) {
       const Image image = decode_record(sample.record, RecordEncoding::file);
       return sum ? sum_of(image.pixels) : 0;
     }},
    {"region",
     [](const Sample& sample, std::vector<std::uint8_t>&, bool sum) {
       const ImageRegion region = decode_record_region(sample.record, RecordEncoding::file, sample.box);
       return sum ? sum_of(region.part.pixels) : 0;
     }},
    {"train",
     [](const Sample& sample, std::vector<std::uint8_t>& out, bool sum) {
       const ImageRegion region = decode_record_region(sample.record, RecordEncoding::file, sample.box);
       apply_training_plan({sample.box}, region, kSide, out);
       return sum ? sum_of(out) : 0;
     }},
    {"evaluate",
     [](const Sample& sample, std::vector<std::uint8_t>& out, bool sum) {
       const RecordShape& shape = sample.record.shape;
       const EvaluationPlan plan = plan_evaluation(shape.height, shape.width, {});
       apply_evaluation_plan(plan, decode_record_region(sample.record, RecordEncoding::file, plan.needed), out);
       return sum ? sum_of(out) : 0;
     }},
    {"check", [](const Sample& sample, std::vector<std::uint8_t>&,
                 bool) { return static_cast<std::uint64_t>(check_image_file(sample.record.bytes).certain ? 1 : 0); }},
    {"portable", resize<ResamplePath::portable>},
    {"avx2", resize<ResamplePath::avx2>},
    {"avx512", resize<ResamplePath::avx512>},
};

void run(const std::string& folder, int num_passes, const std::string& mode) {
  const std::vector<Sample> samples = read_samples(folder);
  const Work work = kModes.at(mode);
  std::vector<std::uint8_t> out(std::size_t{3} * kSide * kSide);
  std::uint64_t checksum = 0, file_bytes = 0;
  for (const Sample& sample : samples) {
    checksum += work(sample, out, true);
    file_bytes += sample.record.bytes.size();
  }
  const auto begin = std::chrono::steady_clock::now();
  const std::clock_t processor_begin = std::clock();
  for (int pass = 0; pass < num_passes; ++pass) {
    for (const Sample& sample : samples) {
      work(sample, out, false);
    }
  }
  const std::chrono::duration<double, std::micro> wall = std::chrono::steady_clock::now() - begin;
  const double processor = 1e6 * static_cast<double>(std::clock() - processor_begin) / CLOCKS_PER_SEC;
  const auto count = static_cast<double>(samples.size());
  std::printf("%.3f %.3f %llu %.0f\n", processor / count / num_passes, wall.count() / count / num_passes,
              static_cast<unsigned long long>(checksum), static_cast<double>(file_bytes) / count);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 || kModes.count(argv[3]) == 0) {
    std::fprintf(stderr, "usage: decode_bench FOLDER PASSES MODE\n");
    return 2;
  }
  try {
    run(argv[1], std::stoi(argv[2]), argv[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
