// Whether the classes are the same wherever weights meet a packed set, or one set another: the training set with the
// evaluation set, the teacher, the weights to start from, the checkpoint to go on from; evaluated weights with their
// set. Each check is local to a rank and comes out alike on all, as all read the same files. They throw Error (usage)
// in one line where classes differ; with Mismatch::warned rank 0 warns instead.
#pragma once

#include "maskedkd/model/class_names.hpp"
#include "maskedkd/shards/shard_reader.hpp"

#include <filesystem>
#include <string>

namespace maskedkd {

enum class Mismatch { refused, warned };  // without --ignore-class-names, and with it

// eval_set may lack the last classes of train_set; it may not have more.
void check_same_classes(const ShardSet& train_set, const ShardSet& eval_set, Mismatch mismatch);

// file: as weights_file() finds it. remedy: what else may be done where they differ. Weights that carry no names: their
// first classes are taken to be the set's, in its order, which is said in one line.
void check_classes_of_weights(const std::filesystem::path& file, const ShardSet& set, Mismatch mismatch,
                              const std::string& remedy = {});

// names: those that the run was started with, from its checkpoint. Throws Error (usage) where the set's differ.
void check_classes_of_checkpoint(const std::filesystem::path& checkpoint, const ClassNames& names, const ShardSet& set);

}  // namespace maskedkd
