// A training small enough for tests, run by the real programs: 16 x 16 images of four classes, 16 patches, steps of
// four micro-batches of eight.
#pragma once

#include "support/process.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace maskedkd::testing {

using Arguments = std::vector<std::string>;

// Packs num_images synthetic images of num_classes classes into `directory` with the real packer. class_names: the
// value of the packer's flag; without it the classes are called 0, 1, ...
void pack_images(const std::filesystem::path& directory, int num_images, int num_classes = 4,
                 const std::string& class_names = {});

// The command line of `program` in build/bin under mpiexec.
Arguments on_ranks(int ranks, const std::string& program, const Arguments& arguments);

// A student (with all random options) trained from `teacher` into `output`: 8 steps per epoch on 256 images.
Arguments student_arguments(const std::filesystem::path& data, const std::filesystem::path& teacher,
                            const std::filesystem::path& output, const Arguments& more = {});
// A teacher of the same grid, trained without a teacher.
Arguments teacher_arguments(const std::filesystem::path& data, const std::filesystem::path& output,
                            const Arguments& more = {});

std::string file_bytes(const std::filesystem::path& path);
void flip_a_bit(const std::filesystem::path& path);  // in the middle of the file
// log.txt without values that depend on the clock.
std::string log_without_times(const std::filesystem::path& run);
// Expects the same weights, optimizer, averages and losses, bit for bit.
void expect_same_run(const std::filesystem::path& expected, const std::filesystem::path& found, int step);

}  // namespace maskedkd::testing
