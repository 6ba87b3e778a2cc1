/* Decides which call gets which fault, counts the calls and records them. */
#define _GNU_SOURCE
#include "fault_plan.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct faults_counts* state;
static int plan_kind, plan_errno;
static uint64_t plan_n;
static int log_file = -1;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER; /* while recording: the log's order is the real one */

int faults_applies(int call, int reason) {
  const int makes = call == FAULTS_OPEN || call == FAULTS_MKDIR || call == FAULTS_SYMLINK || call == FAULTS_LINK ||
                    call == FAULTS_RENAME;
  const int fills = call == FAULTS_WRITE || call == FAULTS_TRUNCATE || call == FAULTS_ALLOCATE || call == FAULTS_SYNC;
  switch (reason) {
    case EINTR:
      return fills || call == FAULTS_OPEN;
    case EMFILE:
    case ENFILE:
      return call == FAULTS_OPEN;
    case ENOSPC:
    case EDQUOT:
      return makes || fills || call == FAULTS_CLOSE;
    case EACCES:
    case EPERM:
      return makes || call == FAULTS_UNLINK || call == FAULTS_RMDIR || call == FAULTS_CHMOD;
    case EROFS:
      return call != FAULTS_CLOSE && call != FAULTS_SYNC_RANGE;
    default:
      return call != FAULTS_MARK;
  }
}

_Noreturn void die_now(void) {
  syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
  for (;;)
    pause();
}

static void fire(int call, const char* path) {
  if (__atomic_fetch_add(&state->fired, 1, __ATOMIC_SEQ_CST) == 0) {
    state->call = (uint32_t)call;
    snprintf(state->path, sizeof state->path, "%s", path);
  }
}

int judge_deed(int deed, const char* path) {
  if (plan_kind != FAULTS_CANNOT || plan_n != (uint64_t)deed)
    return 0;
  fire(deed == FAULTS_BEGIN_TO_SYNC ? FAULTS_SYNC_RANGE : FAULTS_MARK, path);
  return plan_errno;
}

static int deed_of(int call, const char* path) {
  struct stat status;
  const int folder = fstatat(AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
  switch (call) {
    case FAULTS_SYNC:
      return folder ? FAULTS_SYNC_A_FOLDER : FAULTS_SYNC_A_FILE;
    case FAULTS_RENAME:
      return folder ? FAULTS_RENAME_A_FOLDER : FAULTS_RENAME_A_FILE;
    case FAULTS_SYMLINK:
      return FAULTS_MAKE_A_LINK;
    case FAULTS_CHMOD:
      return FAULTS_CHANGE_A_MODE;
    case FAULTS_SYNC_RANGE:
      return FAULTS_BEGIN_TO_SYNC;
    default:
      return 0;
  }
}

struct verdict judge_call(int call, const char* path, size_t bytes) {
  struct verdict verdict = {__atomic_add_fetch(&state->calls, 1, __ATOMIC_SEQ_CST), 0, 0, 0};
  const int here = verdict.number == plan_n, later = verdict.number > plan_n;
  const int halves = call == FAULTS_WRITE && bytes > 1;
  switch (plan_kind) {
    case FAULTS_KILL_BEFORE:
      if (here) {
        fire(call, path);
        die_now();
      }
      break;
    case FAULTS_KILL_AFTER:
      verdict.kill_after = here;
      break;
    case FAULTS_KILL_HALF:
      verdict.half = verdict.kill_after = here && halves;
      break;
    case FAULTS_ERROR:
      verdict.reason = here && faults_applies(call, plan_errno) ? plan_errno : 0;
      break;
    case FAULTS_ERROR_ON:
      verdict.reason = (here || later) && faults_applies(call, plan_errno) ? plan_errno : 0;
      break;
    case FAULTS_SHORT:
      verdict.half = here && halves;
      break;
    case FAULTS_CANNOT:
      verdict.reason = plan_n == (uint64_t)deed_of(call, path) ? plan_errno : 0;
      break;
    case FAULTS_FULL_DISK:
      verdict.half = here && halves;
      verdict.reason = !verdict.half && (here || later) && faults_applies(call, ENOSPC) ? ENOSPC : 0;
      break;
  }
  if (verdict.half || verdict.reason || verdict.kill_after)
    fire(call, path);
  return verdict;
}

static void append(const void* data, size_t bytes) {
  const char* from = data;
  while (bytes > 0) {
    const long count = syscall(SYS_write, log_file, from, bytes);
    if (count <= 0) {
      static const char why[] = "file_faults: can't write the log\n";
      syscall(SYS_write, 2, why, sizeof why - 1);
      die_now();
    }
    from += count;
    bytes -= (size_t)count;
  }
}

void log_call(uint64_t number, int call, uint32_t flags, uint64_t inode, uint64_t offset, const char* path,
              const char* other, const void* data, size_t bytes) {
  const struct faults_logged_call record = {number, (uint32_t)call, flags,         inode,
                                            offset, strlen(path),   strlen(other), bytes};
  append(&record, sizeof record);
  append(path, record.path_bytes);
  append(other, record.other_bytes);
  append(data, bytes);
}

int begin_call(void) {
  if (log_file < 0)
    return 0;
  pthread_mutex_lock(&one_at_a_time);
  return 1;
}

void end_call(int recording) {
  if (recording) {
    const int kept = errno;
    pthread_mutex_unlock(&one_at_a_time);
    errno = kept;
  }
}

void faults_arm(int kind, uint64_t n, int reason) {
  memset(state, 0, sizeof *state);
  plan_kind = kind;
  plan_n = n;
  plan_errno = reason;
}

void faults_record(const char* log) {
  if (log_file >= 0)
    syscall(SYS_close, log_file);
  log_file = -1;
  if (log == NULL)
    return;
  const int file = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  log_file =
      file < 0 ? -1 : fcntl(file, F_DUPFD_CLOEXEC, 500); /* out of the way of programs that close what they know */
  if (file >= 0)
    syscall(SYS_close, file);
  if (log_file < 0)
    die_now();
}

void faults_mark(uint64_t value) {
  const int recording = begin_call();
  if (recording)
    log_call(0, FAULTS_MARK, 0, 0, value, "", "", "", 0);
  end_call(recording);
}

const struct faults_counts* faults_state(void) { return state; }

__attribute__((constructor)) static void set_up(void) {
  const char* place = getenv("MASKEDKD_FAULTS_STATE");
  int file = -1;
  if (place != NULL) {
    file = (int)syscall(SYS_openat, AT_FDCWD, place, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || syscall(SYS_ftruncate, file, sizeof *state) != 0)
      die_now();
  }
  void* page = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED | (file < 0 ? MAP_ANONYMOUS : 0), file, 0);
  if (page == MAP_FAILED)
    die_now();
  state = page;
  if (file >= 0)
    syscall(SYS_close, file);
  const char* folder = getenv("MASKEDKD_FAULTS_ROOT");
  if (folder == NULL)
    return;
  const char* plan = getenv("MASKEDKD_FAULTS_PLAN");
  int kind = FAULTS_NONE, reason = 0;
  unsigned long long n = 0;
  if (plan != NULL && sscanf(plan, "%d %llu %d", &kind, &n, &reason) != 3)
    die_now();
  plan_kind = kind;
  plan_n = n;
  plan_errno = reason;
  if (getenv("MASKEDKD_FAULTS_LOG") != NULL)
    faults_record(getenv("MASKEDKD_FAULTS_LOG"));
  faults_watch(folder);
}
