// After SIGKILL at a random instant of saving, marking and retaining, the newest checkpoint that loads is the old or
// the new one, and leftovers are swept.
#include "example.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>

namespace maskedkd::testing {
namespace {

constexpr std::int64_t kScale = 3000;  // 0.5 MB: large enough that many kills happen while it is saved

void save_as_training_does(const RunFolder& run, const CheckpointContent& content) {
  const fs::path path = save_checkpoint(run.lease(), run.path(), content);
  if (content.step % 3 == 0) {
    mark_best(run.lease(), run.path(), path);
  }
  retain_checkpoints(run.lease(), run.path(), {2});
}

TEST(Kill, LeavesTheOldOrTheNewCheckpointWhole) {
  const int kills = count_from_environment("MASKEDKD_KILLS", 40);
  RunFolder root;
  std::mt19937 random(7);
  std::int64_t step = 1;
  save_as_training_does(root, example_state(step, kScale));
  const CheckpointContent probe = example_state(1000, kScale);
  const auto started = std::chrono::steady_clock::now();
  {
    const RunFolder other;
    save_as_training_does(other, probe);
  }
  const auto save_us = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - started).count());

  int inside = 0, leftovers = 0;
  for (int i = 0; i < kills; ++i) {
    const CheckpointContent next = example_state(step + 1, kScale);
    int ready[2], done[2];
    ASSERT_EQ(pipe(ready), 0);
    ASSERT_EQ(pipe(done), 0);
    const pid_t child = fork();
    if (child == 0) {
      if (write(ready[1], "x", 1) != 1) {
        _exit(1);
      }
      save_as_training_does(root, next);
      if (write(done[1], "x", 1) != 1) {
        _exit(1);
      }
      pause();
    }
    close(done[1]);
    char byte = 0;
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    usleep(static_cast<useconds_t>(random() % (save_us + save_us / 3)));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const bool finished = read(done[0], &byte, 1) == 1;
    for (const int descriptor : {ready[0], ready[1], done[0]}) {
      close(descriptor);
    }

    // As in the next start, no listed checkpoint is damaged before leftovers are swept.
    leftovers += has_leftovers(root.path()) ? 1 : 0;
    const auto found = find_newest_checkpoint(root.path(), nothing_is_damaged);
    ASSERT_TRUE(found);
    ASSERT_TRUE(found->step == step || found->step == step + 1) << found->step;
    ASSERT_TRUE(is_example_state(*found, found->step, kScale));
    ASSERT_TRUE(!finished || found->step == step + 1);
    inside += finished ? 0 : 1;
    std::error_code no_best;
    if (fs::is_symlink(root.path() / "best", no_best)) {
      const LoadedCheckpoint best = load_checkpoint(root.path() / "best");
      ASSERT_EQ(best.step % 3, 0);
      ASSERT_TRUE(is_example_state(best, best.step, kScale));
    }
    root.start_anew();
    ASSERT_FALSE(has_leftovers(root.path()));
    step = found->step;
    // Kills between saving and retaining may leave more; after a complete round there are two and the best.
    ASSERT_TRUE(!finished || list_checkpoints(root.path()).size() <= 3u);
  }
  std::printf("%d kills, %d of them inside of saving, %d left something to sweep; the last step is %lld\n", kills,
              inside, leftovers, static_cast<long long>(step));
  EXPECT_GT(inside, 0);
  EXPECT_GT(leftovers, 0);
  EXPECT_GT(step, 1);
}

}  // namespace
}  // namespace maskedkd::testing
