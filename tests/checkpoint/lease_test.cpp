// A run has one writer, the newest: who may take over the lease, and that earlier writers can no longer write.
#include "maskedkd/checkpoint/lease.hpp"

#include "example.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <thread>

namespace maskedkd::testing {
namespace {

using namespace std::chrono_literals;

const LeaseOptions kQuick{.timeout = 400ms, .heartbeat_interval = 50ms};

LeaseOwner somewhere_else(const std::string& job = "", std::int64_t restarts = 0) {
  LeaseOwner owner = this_process("maskedkd_train");
  owner.host = "host7";
  owner.boot = "another machine";
  owner.job = job;
  owner.restarts = restarts;
  return owner;
}

LeaseOwner here(const std::string& job = "", std::int64_t restarts = 0) {
  LeaseOwner owner = this_process("maskedkd_train");
  owner.job = job;
  owner.restarts = restarts;
  return owner;
}

// A process that takes the lease, calls `then`, and lives until it is killed.
pid_t child_that_holds(
    const fs::path& run, const std::function<void(Lease&)>& then = [](Lease&) { pause(); }) {
  int ready[2];
  EXPECT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    try {
      Lease lease(run, here(), kQuick);
      _exit(write(ready[1], "x", 1) == 1 ? (then(lease), 0) : 1);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      _exit(1);
    }
  }
  close(ready[1]);
  char byte = 0;
  EXPECT_EQ(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  return child;
}

void kill_and_wait(pid_t child) {
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

TEST(Lease, GenerationsGrowAndAReleasedRunIsFreeAtOnce) {
  const TemporaryDirectory run;
  for (int generation = 1; generation <= 3; ++generation) {
    const auto started = std::chrono::steady_clock::now();
    Lease lease(run.path() / "deep" / "run", somewhere_else(), {.timeout = 1h, .heartbeat_interval = 1h});
    EXPECT_EQ(lease.generation(), generation);
    EXPECT_EQ(lease.previous().ended, generation == 1 ? "" : "stopped");
    EXPECT_EQ(lease.previous().resumed_from, generation == 1 ? "" : "step-000000007");
    EXPECT_LT(std::chrono::steady_clock::now() - started, 10s);
    EXPECT_EQ(names_in(run.path() / "deep" / "run" / ".lease").size(), 1u) << "the older ones are gone";
    lease.write_note({.ended = "", .resumed_from = "step-000000007", .restarts_without_checkpoint = 2});
    lease.release("stopped");
  }
}

TEST(Lease, ALivingOwnerOnThisMachineBlocksAndADeadOneDoesNot) {
  const TemporaryDirectory run;
  const pid_t child = child_that_holds(run.path());
  const std::string message = error_of([&] { Lease lease(run.path(), here(), kQuick); });
  EXPECT_NE(message.find("is in use by maskedkd_train on " + here().host + ", process " + std::to_string(child)),
            std::string::npos)
      << message;
  kill(child, SIGSTOP);  // a stopped process is alive
  EXPECT_NE(error_of([&] { Lease lease(run.path(), here(), kQuick); }).find("in use by"), std::string::npos);
  kill_and_wait(child);
  const Lease lease(run.path(), here(), {.timeout = 1h, .heartbeat_interval = 1h});
  EXPECT_EQ(lease.generation(), 2);
}

TEST(Lease, AReusedProcessNumberIsNotTheOwner) {
  const TemporaryDirectory run;
  LeaseOwner before = here();
  before.process_started = "1";
  const Lease killed(run.path(), before, kQuick);
  const Lease lease(run.path(), here(), {.timeout = 1h, .heartbeat_interval = 1h});
  EXPECT_EQ(lease.generation(), 2);
}

TEST(Lease, AnOwnerOnAnotherMachineIsJudgedByItsHeartbeat) {
  const TemporaryDirectory run;
  std::string waited;
  {
    Lease elsewhere(run.path(), somewhere_else("17"), kQuick);
    elsewhere.start_heartbeat([](const Error&) {});
    const std::string message = error_of(
        [&] { Lease lease(run.path(), here("18", 5), kQuick, [&](const std::string& line) { waited = line; }); });
    EXPECT_NE(message.find("in use by maskedkd_train on host7"), std::string::npos) << message;
    EXPECT_NE(message.find("job 17"), std::string::npos) << message;
    EXPECT_NE(waited.find("maskedkd_train on host7"), std::string::npos) << waited;
  }
  const TemporaryDirectory other;
  const Lease silent(other.path(), somewhere_else(), kQuick);
  const auto started = std::chrono::steady_clock::now();
  const Lease lease(other.path(), here(), kQuick);
  EXPECT_GE(std::chrono::steady_clock::now() - started, kQuick.timeout);
  EXPECT_EQ(lease.generation(), 2);
  EXPECT_NE(error_of([&] { silent.check(); }).find("taken over its folder"), std::string::npos);
}

// A process that is hidden by /proc or runs in another container can't be examined, but may be alive.
TEST(Lease, AnOwnerThatCanNotBeExaminedIsJudgedByItsHeartbeat) {
  for (const auto& hide : std::vector<void (*)(LeaseOwner&)>{
           [](LeaseOwner& owner) { owner.process_started = ""; }, [](LeaseOwner& owner) { owner.boot = ""; },
           [](LeaseOwner& owner) { owner.boot += ", another container"; },
           [](LeaseOwner& owner) { owner.host += ", another machine"; }}) {
    LeaseOwner hidden = here();
    hide(hidden);
    const TemporaryDirectory run;
    Lease alive(run.path(), hidden, kQuick);
    alive.start_heartbeat([](const Error&) {});
    EXPECT_NE(error_of([&] { Lease lease(run.path(), here(), kQuick); }).find("is in use by"), std::string::npos);
    EXPECT_NO_THROW(alive.check());
    alive.release("");
    const TemporaryDirectory other;
    const Lease silent(other.path(), hidden, kQuick);
    const auto started = std::chrono::steady_clock::now();
    const Lease lease(other.path(), here(), kQuick);
    EXPECT_GE(std::chrono::steady_clock::now() - started, kQuick.timeout);
    EXPECT_EQ(lease.generation(), 2);
  }
}

// Some network file systems give a folder another inode number on each machine.
TEST(Lease, AFolderWhoseInodeNumberChangedIsOnlyFreeWithoutAHeartbeat) {
  const TemporaryDirectory run;
  Lease alive(run.path(), somewhere_else(), kQuick);
  const fs::path record = alive.staging_folder() / "owner.json";
  auto json = nlohmann::json::parse(read_bytes(record));
  json["run_folder"] = "17";
  write_bytes(record, json.dump());
  alive.start_heartbeat([](const Error&) {});
  EXPECT_NE(error_of([&] { Lease lease(run.path(), here(), kQuick); }).find("is in use by"), std::string::npos);
  EXPECT_NO_THROW(alive.check());
}

TEST(Lease, AnUnreadableRecordIsNotAMissingOne) {
  const TemporaryDirectory run;
  fs::permissions(run.path(), fs::perms::all);
  const Lease lease(run.path() / "run", here(), kQuick);
  fs::permissions(run.path() / "run", fs::perms::all);
  fs::permissions(run.path() / "run" / ".lease", fs::perms::all);
  for (const char* name : {"owner.json", "beat"}) {
    fs::permissions(lease.staging_folder() / name, fs::perms::none);
    const uid_t user = geteuid();
    if (user == 0) {
      ASSERT_EQ(seteuid(60001), 0);
    }
    const std::string message = error_of([&] { Lease other(run.path() / "run", here("17"), kQuick); });
    ASSERT_EQ(seteuid(user), 0);
    EXPECT_NE(message.find(std::string(name) + ": Permission denied"), std::string::npos) << message;
    EXPECT_NO_THROW(lease.check());
    fs::permissions(lease.staging_folder() / name, fs::perms::all);
  }
}

TEST(Lease, ALaterStartOfTheSameJobTakesOverFromALivingOne) {
  const TemporaryDirectory run;
  Lease old(run.path(), here("17", 1), {.timeout = 1h, .heartbeat_interval = 20ms});
  std::atomic<int> lost{0};
  old.start_heartbeat([&](const Error& error) { lost = static_cast<int>(error.code()); });
  EXPECT_NE(error_of([&] { Lease lease(run.path(), here("17", 1), kQuick); }).find("in use"), std::string::npos);
  EXPECT_NE(error_of([&] { Lease lease(run.path(), here("17", 0), kQuick); }).find("in use"), std::string::npos);
  const Lease lease(run.path(), here("17", 2), {.timeout = 1h, .heartbeat_interval = 1h});
  EXPECT_EQ(lease.generation(), 2);
  for (int tries = 0; lost == 0 && tries < 500; ++tries) {
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_EQ(lost, static_cast<int>(ExitCode::no_requeue)) << "the old one is notified";
}

// The earlier owner has prepared everything, and only has to move it to its place.
TEST(Lease, AnEarlierOwnerCanWriteNothing) {
  const TemporaryDirectory place;
  const fs::path run = place.path() / "run", root = run / "checkpoints";
  const Lease old(run, here("17", 0), kQuick);
  save_checkpoint(old, root, example_state(1));
  const fs::path second = save_checkpoint(old, root, example_state(2));
  old.put_text("1\n", run / "log.txt");
  fs::create_directory(old.staging_folder() / "made");
  const int handle =
      open(old.staging_folder().c_str(), O_RDONLY | O_DIRECTORY);  // as the client of a network file system holds it
  const Lease lease(run, here("17", 1), kQuick);
  const auto files = [&] {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(run)) {
      if (entry.path().string().find(".lease") == std::string::npos) {
        all[entry.path()] = entry.is_regular_file() ? read_bytes(entry.path()) : "";
      }
    }
    return all;
  };
  const auto before = files();
  const std::vector<std::function<void()>> actions = {
      [&] { save_checkpoint(old, root, example_state(3)); },
      [&] {
        save_checkpoint(old, root, example_state(2));
        save_checkpoint(old, root, example_state(4));
      },
      [&] { mark_best(old, root, second); },
      [&] { retain_checkpoints(old, root, {1}); },
      [&] { old.put_text("2\n", run / "log.txt"); },
      [&] { old.put(old.staging_folder() / "made", root / "step-000000009"); },
      [&] { old.remove(second); },
      [&] { old.check(); },
      [&] { save_checkpoint_part(old.staging_folder(), example_state(3)); },
  };
  for (std::size_t i = 0; i < actions.size(); ++i) {
    const std::string message = error_of(actions[i]);
    EXPECT_TRUE(message.find("taken over its folder") != std::string::npos || i + 1 == actions.size()) << i << message;
    EXPECT_FALSE(message.empty()) << i;
    EXPECT_EQ(files(), before) << i;
  }
  EXPECT_NE(mkdirat(handle, "made", 0755), 0) << "the folder itself is gone, not only its name";
  EXPECT_NE(renameat(handle, "made", AT_FDCWD, (root / "step-000000009").c_str()), 0);
  close(handle);
  save_checkpoint(lease, root, example_state(3));
  EXPECT_TRUE(is_example_state(*find_newest_checkpoint(root, nothing_is_damaged), 3));
}

// A file server that restarts may report a folder as missing for a moment.
TEST(Lease, AFolderThatIsMissingForAMomentIsNotTakenOver) {
  const TemporaryDirectory run;
  const Lease lease(run.path(), here(), kQuick);
  const fs::path elsewhere = run.path() / "elsewhere";
  fs::rename(lease.staging_folder(), elsewhere);
  std::thread server([&] {
    std::this_thread::sleep_for(100ms);
    fs::rename(elsewhere, lease.staging_folder());
  });
  EXPECT_NO_THROW(lease.check());
  server.join();
  EXPECT_NO_THROW(lease.put_text("x", run.path() / "file"));
  fs::remove_all(lease.staging_folder());
  EXPECT_THROW(lease.check(), Fenced);
}

TEST(Lease, NothingIsWrittenAfterATakeover) {
  const int rounds = count_from_environment("MASKEDKD_TAKE_OVERS", 15);
  const TemporaryDirectory place;
  const fs::path run = place.path(), log = run / "log.txt";
  for (int round = 0; round < rounds; ++round) {
    const std::string job = std::to_string(round);
    std::atomic<bool> end{false};
    const auto old = std::make_unique<Lease>(run, here(job, 0), kQuick);
    std::thread writer([&] {
      try {
        for (int i = 0; !end; ++i) {
          old->put_text("old " + std::to_string(i), log);
        }
      } catch (const Fenced&) {
      }
    });
    std::this_thread::sleep_for(std::chrono::microseconds(500 * round));
    const Lease lease(run, here(job, 1), kQuick);
    lease.put_text("new", log);
    for (int look = 0; look < 20; ++look) {
      ASSERT_EQ(read_bytes(log), "new") << round;
      std::this_thread::sleep_for(1ms);
    }
    end = true;
    writer.join();
  }
}

// One process gets the lease and keeps it until all others have been refused.
void expect_that_one_of_many_gets(const fs::path& run) {
  constexpr int kMany = 8;
  int answers[2], hold[2];
  ASSERT_EQ(pipe(answers), 0);
  ASSERT_EQ(pipe(hold), 0);
  std::vector<pid_t> children;
  for (int i = 0; i < kMany; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      close(hold[1]);
      const auto answer = [&](char word) { return write(answers[1], &word, 1) == 1; };
      try {
        const Lease lease(run, here(), kQuick);
        char end;
        const bool held = answer('y') && read(hold[0], &end, 1) == 0;
        lease.check();
        _exit(held ? 0 : 1);
      } catch (const InUse&) {
        _exit(answer('n') ? 7 : 1);
      } catch (const Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        _exit(answer('e') ? 1 : 2);
      }
    }
    children.push_back(child);
  }
  close(answers[1]);
  int holders = 0, num_answers = 0;
  for (char word; num_answers < kMany && read(answers[0], &word, 1) == 1; ++num_answers) {
    holders += word == 'y' ? 1 : 0;
  }
  close(hold[1]);
  EXPECT_EQ(num_answers, kMany);
  EXPECT_EQ(holders, 1);
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_TRUE(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 7) << WEXITSTATUS(status);
  }
  close(answers[0]);
  close(hold[0]);
}

TEST(Lease, OneOfManySimultaneousStartsGetsIt) {
  const TemporaryDirectory run;
  for (int round = 0; round < 5; ++round) {
    SCOPED_TRACE(round);
    expect_that_one_of_many_gets(run.path());
  }
}

// All of them wait for a heartbeat, and notice at the same moment that there is none.
TEST(Lease, OneOfManyStartsThatWaitForASilentOwnerGetsIt) {
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    const TemporaryDirectory run;
    const Lease silent(run.path(), somewhere_else(), kQuick);
    expect_that_one_of_many_gets(run.path());
    EXPECT_NE(error_of([&] { silent.check(); }).find("taken over its folder"), std::string::npos);
  }
}

TEST(Lease, FilesLeftByAPowerCutAreNoOwner) {
  for (const char* text : {"", "{", "[]", "{\"program\": 7}"}) {
    const TemporaryDirectory run;
    {
      const Lease lease(run.path(), here(), kQuick);
      write_bytes(lease.staging_folder() / "owner.json", text);
      const Lease next(run.path(), here(), kQuick);
      EXPECT_EQ(next.generation(), 2) << text;
    }
  }
}

// The obstacle is a mounted file system; only root can mount one.
TEST(Lease, AStartThatFailsLeavesTheRunFree) {
  const TemporaryDirectory run;
  const fs::path stuck = run.path() / ".lease" / ".taken-000000000-by-1";
  { const Lease first(run.path(), here(), kQuick); }
  fs::create_directories(stuck);
  if (mount("tmpfs", stuck.c_str(), "tmpfs", 0, "size=100k") != 0) {
    GTEST_SKIP() << "no file system can be mounted here";
  }
  EXPECT_NE(error_of([&] { Lease lease(run.path(), here(), kQuick); }).find("can't remove"), std::string::npos);
  umount(stuck.c_str());
  const Lease next(run.path(), here(), kQuick);
  EXPECT_EQ(next.generation(), 3) << "numbers do not come again";
}

TEST(Lease, UnwritablePlacesAreErrors) {
  const TemporaryDirectory place;
  write_bytes(place.path() / "file", "x");
  EXPECT_NE(error_of([&] { Lease lease(place.path() / "file", here(), kQuick); }).find("file"), std::string::npos);
  EXPECT_NE(error_of([&] { Lease lease("/proc/self/run", here(), kQuick); }).find("/proc/self/run"), std::string::npos);
}

}  // namespace
}  // namespace maskedkd::testing
