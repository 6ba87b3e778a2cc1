// Opening a run's data on several ranks: rank 0 alone opens the shards. The other ranks are given a folder that has an
// index and no shard, so that whatever opens one fails.
#include "maskedkd/train/run_data.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "shards/packed_set.hpp"
#include "support/mpi_test.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

namespace maskedkd {
namespace {

using testing::mpi_session;

class RunDataTest : public ::testing::Test {
 protected:
  RunDataTest() {
    train_ = testing::write_set(folder_.path() / "train", 40, 3);
    evaluation_ = testing::write_set(folder_.path() / "val", 11, 2, /*seed=*/7);
    options_.data_path = folder_.path() / "train";
    options_.eval_data_path = folder_.path() / "val";
    options_.student.num_classes = 3;
  }

  void remove_shards() {
    for (const auto* set : {&train_, &evaluation_}) {
      for (const ShardIndexEntry& entry : set->index.shards) {
        std::filesystem::remove((set == &train_ ? options_.data_path : options_.eval_data_path) / entry.name);
      }
    }
  }

  testing::TemporaryDirectory folder_;  // of this rank
  testing::PackedSet train_, evaluation_;
  TrainOptions options_;
};

TEST_F(RunDataTest, OnlyRank0OpensShards) {
  if (mpi_session().rank() != 0) {
    remove_shards();
  }
  const RunData data(mpi_session(), options_);
  EXPECT_EQ(data.train().num_records(), 40);
  EXPECT_EQ(data.train().num_shards(), 14U);
  EXPECT_EQ(data.evaluation()->num_records(), 11);
  EXPECT_EQ(data.evaluation()->class_names(), train_.index.class_names);
  if (mpi_session().rank() != 0) {
    EXPECT_THROW(data.train().read(0), Error);
  }
}

TEST_F(RunDataTest, EveryRankReadsTheSameRecords) {
  const RunData data(mpi_session(), options_);
  for (std::size_t i = 0; i < train_.records.size(); ++i) {
    const Record record = data.train().read(static_cast<std::int64_t>(i));
    EXPECT_EQ(record.bytes, train_.records[i].bytes);
    EXPECT_EQ(record.label, train_.records[i].label);
    EXPECT_EQ(record.shape, train_.records[i].shape);
  }
}

TEST_F(RunDataTest, ANodeWithoutTheSetIsNamed) {
  if (mpi_session().size() > 1 && mpi_session().rank() == 1) {
    std::filesystem::remove_all(options_.data_path);
    EXPECT_THROW(open_set(mpi_session(), options_.data_path), Error);
  } else {
    EXPECT_EQ(open_set(mpi_session(), options_.data_path).num_records(), 40);
  }
}

}  // namespace
}  // namespace maskedkd
