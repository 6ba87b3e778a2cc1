// operations_bench FILE ROUNDS, for operations_bench.py. FILE: 224 x 224 x 3 bytes. Prints a line with name and
// microseconds for each operation with the argument of magnitude 9, for the default policy's operations (drawn and
// applied, per image).
#include "maskedkd/augment/augment.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <vector>

using namespace maskedkd;

namespace {

constexpr int kSide = 224;
constexpr double kArguments[kNumOperationKinds] = {0,    0,    0,    1,    26,    99,    1.81, 1.81, 1.81,
                                                   1.81, 27.0, 0.27, 0.27, 0.405, 0.405, 1.05, 0};

double processor_us() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return 1e6 * static_cast<double>(now.tv_sec) + 1e-3 * static_cast<double>(now.tv_nsec);
}

template <typename Work>
double median_us(int rounds, const Work& work) {
  std::vector<double> times;
  for (int round = 0; round < rounds; ++round) {
    const double began = processor_us();
    work(round);
    times.push_back(processor_us() - began);
  }
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return times[static_cast<std::size_t>(rounds / 2)];
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::uint8_t> picture(static_cast<std::size_t>(kSide) * kSide * 3), image;
  if (argc != 3 || !std::ifstream(argv[1], std::ios::binary)
                        .read(reinterpret_cast<char*>(picture.data()), static_cast<std::streamsize>(picture.size()))) {
    std::fprintf(stderr, "operations_bench FILE ROUNDS\n");
    return 2;
  }
  const int rounds = std::atoi(argv[2]);
  image = picture;
  const double copy = median_us(rounds, [&](int) { std::copy(picture.begin(), picture.end(), image.begin()); });
  for (int kind = 0; kind < kNumOperationKinds; ++kind) {
    const ImageOperation operation{static_cast<OperationKind>(kind), kArguments[kind]};
    const double time = median_us(rounds, [&](int) {
      std::copy(picture.begin(), picture.end(), image.begin());
      apply_operation(operation, image, kSide, kSide);
    });
    std::printf("%s %.2f\n", to_string(operation.kind).data(), time - copy);
  }
  const RandAugmentPolicy policy;
  constexpr int kImages = 1000;  // mean over the random draws
  const double policy_time = median_us(std::max(1, rounds / 100), [&](int round) {
    for (int i = 0; i < kImages; ++i) {
      PhiloxStream random({.seed = static_cast<std::uint64_t>(round), .step = static_cast<std::uint32_t>(i)});
      std::vector<ImageOperation> operations;
      draw_rand_augment(random, policy, InterpolationChoice::bicubic, operations);
      std::copy(picture.begin(), picture.end(), image.begin());
      for (const ImageOperation& operation : operations) {
        apply_operation(operation, image, kSide, kSide);
      }
    }
  });
  std::printf("policy %.2f\n", policy_time / kImages - copy);
  return 0;
}
