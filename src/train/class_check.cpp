#include "maskedkd/train/class_check.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/base/log.hpp"
#include "maskedkd/base/quoted_name.hpp"
#include "maskedkd/io/safetensors.hpp"

namespace maskedkd {
namespace {

constexpr const char* kPackAlike = "pack both with the same --class-map, or from folders with the same names";

void report(const std::string& given, const std::string& expected, const ClassDifference& difference, Mismatch mismatch,
            const std::string& remedy) {
  const std::string line = fmt::format("{} has other classes than {}: {}", given, expected, difference.text);
  if (mismatch == Mismatch::warned) {
    log_on_rank_0(spdlog::level::warn, line + "; --ignore-class-names: labels are used unchanged");
    return;
  }
  throw usage_error(line, remedy + (difference.reordered ? ""
                                                         : "; where the classes are the same and only their names "
                                                           "differ, --ignore-class-names"));
}

// For weights without class names. The set may have fewer classes than the weights.
void log_assumed_classes(const std::filesystem::path& file, const ShardSet& set) {
  const ClassNames& names = set.class_names();
  const std::string line = fmt::format("{} has no class names: ", file.string());
  if (are_imagenet_synsets_in_order(names)) {
    log_on_rank_0(spdlog::level::info, line + "its classes are assumed to be ImageNet's in the usual order");
    return;
  }
  log_on_rank_0(
      spdlog::level::warn,
      line + fmt::format("its classes are assumed to be those of {} in that order, from {} to {}{}",
                         set.directory().string(), quoted_name(names.front()), quoted_name(names.back()),
                         are_imagenet_synsets(names)
                             ? "; published weights have ImageNet's synsets in ascending order, unlike this set"
                             : ""));
}

}  // namespace

void check_same_classes(const ShardSet& train_set, const ShardSet& eval_set, Mismatch mismatch) {
  if (const auto difference = class_difference(train_set.class_names(), eval_set.class_names())) {
    report(eval_set.directory().string(), train_set.directory().string(), *difference, mismatch, kPackAlike);
  } else if (eval_set.num_classes() > train_set.num_classes()) {
    throw usage_error(fmt::format("{} has {} classes, {} only the first {} of them", eval_set.directory().string(),
                                  eval_set.num_classes(), train_set.directory().string(), train_set.num_classes()),
                      kPackAlike);
  }
}

void check_classes_of_weights(const std::filesystem::path& file, const ShardSet& set, Mismatch mismatch,
                              const std::string& remedy) {
  const SafetensorsHeader header = read_safetensors_header(file);
  const ClassNames names = class_names_in(header.metadata);
  if (names.empty()) {
    log_assumed_classes(file, set);
    return;
  }
  if (const auto difference = class_difference(names, set.class_names())) {
    report(
        set.directory().string(), file.string(), *difference, mismatch,
        fmt::format("{}pack the set with a --class-map in the order that 'maskedkd_weights show --classes {}' prints",
                    remedy, file.string()));
  }
}

void check_classes_of_checkpoint(const std::filesystem::path& checkpoint, const ClassNames& names,
                                 const ShardSet& set) {
  if (const auto difference = class_difference(names, set.class_names())) {
    throw usage_error(fmt::format("{} has other classes than the run was started with ({}): {}",
                                  set.directory().string(), checkpoint.string(), difference->text),
                      "give the set that the run was started with, or start in another --output-dir");
  }
}

}  // namespace maskedkd
