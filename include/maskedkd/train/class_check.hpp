// Checks that the classes agree wherever weights are used with a packed set, or two sets are used together: the
// training set with the evaluation set, the teacher, the initial weights and the checkpoint of a resumed run; evaluated
// weights with their set. Each check is local to a rank and has the same result on all, as all read the same files.
// They throw Error (usage) in one line where classes differ; with Mismatch::warned rank 0 logs a warning instead.
#pragma once

#include "maskedkd/model/class_names.hpp"
#include "maskedkd/shards/shard_reader.hpp"

#include <filesystem>
#include <string>

namespace maskedkd {

enum class Mismatch { refused, warned };
// refused without --ignore-class-names, warned with it.
inline Mismatch on_mismatch(bool ignore_class_names) {
  return ignore_class_names ? Mismatch::warned : Mismatch::refused;
}

// eval_set may lack the last classes of train_set; it may not have more.
void check_same_classes(const ShardSet& train_set, const ShardSet& eval_set, Mismatch mismatch);

// file: from weights_file(). remedy: more advice for the error. Weights without class names are assumed to have the
// set's.
void check_classes_of_weights(const std::filesystem::path& file, const ShardSet& set, Mismatch mismatch,
                              const std::string& remedy = {});

// names: the classes that the run was started with. Throws Error (usage) where the set's differ.
void check_classes_of_checkpoint(const std::filesystem::path& checkpoint, const ClassNames& names, const ShardSet& set);

}  // namespace maskedkd
