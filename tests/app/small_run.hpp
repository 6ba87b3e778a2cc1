// A training small enough for tests, run by the real programs: 16 x 16 images of four classes, 16 patches, a step of
// four micro-batches of eight.
#pragma once

#include "support/process.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace maskedkd::testing {

using Arguments = std::vector<std::string>;

// Packs num_images synthetic images of num_classes classes into `directory` with the real packer. class_names: as its
// flag takes them; without them the classes are called 0, 1, ...
void pack_images(const std::filesystem::path& directory, int num_images, int num_classes = 4,
                 const std::string& class_names = {});

// `program` of build/bin under mpiexec.
Arguments on_ranks(int ranks, const std::string& program, const Arguments& arguments);

// A student (with everything random switched on) trained from `teacher` into `output`: 8 steps an epoch on 256 images.
Arguments student_arguments(const std::filesystem::path& data, const std::filesystem::path& teacher,
                            const std::filesystem::path& output, const Arguments& more = {});
// A teacher of the same grid, without one of its own.
Arguments teacher_arguments(const std::filesystem::path& data, const std::filesystem::path& output,
                            const Arguments& more = {});

std::string file_bytes(const std::filesystem::path& path);
void flip_a_bit(const std::filesystem::path& path);  // in its middle
// log.txt without what depends on the clock.
std::string log_without_times(const std::filesystem::path& run);
// Expects the same weights, optimizer, averages and losses, bit for bit.
void expect_same_run(const std::filesystem::path& expected, const std::filesystem::path& found, int step);

}  // namespace maskedkd::testing
