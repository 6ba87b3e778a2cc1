/* The calls that are numbered, see file_faults.h. Each goes to the kernel by syscall(): nothing here depends on which
 * library is loaded when, and nothing that a program allocates is touched. */
#define _GNU_SOURCE
#include "file_faults.h"

#include "fault_plan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char root[PATH_MAX];
static size_t root_length;

void faults_watch(const char* folder) {
  snprintf(root, sizeof root, "%s", folder);
  root_length = strlen(root);
}

/* Removes ., .. and double slashes; links are kept. */
static void normalise(char* path) {
  char* end = path;
  const char* from = path;
  while (*from) {
    while (*from == '/')
      ++from;
    const size_t length = strcspn(from, "/");
    if (length == 2 && memcmp(from, "..", 2) == 0) {
      while (end > path && *--end != '/') {
      }
    } else if (length > 0 && !(length == 1 && *from == '.')) {
      *end++ = '/';
      memmove(end, from, length);
      end += length;
    }
    from += length;
  }
  *end = 0;
}

static int is_below(const char* path) {
  return root_length > 0 && strncmp(path, root, root_length) == 0 &&
         (path[root_length] == '/' || path[root_length] == 0);
}

int watched_descriptor(int descriptor, char* out) {
  if (root_length == 0)
    return 0;
  char name[40];
  snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
  const long length = syscall(SYS_readlinkat, AT_FDCWD, name, out, PATH_MAX - 1);
  out[length > 0 ? length : 0] = 0;
  return length > 0 && is_below(out);
}

int watched_path(int directory, const char* path, char* out) {
  if (root_length == 0 || path == NULL || strlen(path) >= PATH_MAX / 2)
    return 0;
  out[0] = 0;
  if (path[0] != '/') {
    if (directory == AT_FDCWD) {
      if (syscall(SYS_getcwd, out, PATH_MAX / 2) < 0)
        return 0;
    } else {
      watched_descriptor(directory, out);
    }
  }
  const size_t length = strlen(out);
  if (length + strlen(path) + 2 > PATH_MAX)
    return 0;
  out[length] = '/';
  strcpy(out + length + 1, path);
  normalise(out);
  return is_below(out);
}

static uint64_t inode_of(int descriptor) {
  struct stat status;
  return fstat(descriptor, &status) == 0 ? status.st_ino : 0;
}

static uint64_t inode_at(const char* path) {
  struct stat status;
  return fstatat(AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW) == 0 ? status.st_ino : 0;
}

/* A call that takes only paths. */
#define PATH_CALL(call, path, other, invocation)                                                              \
  do {                                                                                                        \
    const int recording = begin_call();                                                                       \
    const struct verdict verdict = judge_call(call, path, 0);                                                 \
    long result = -1;                                                                                         \
    if (verdict.reason) {                                                                                     \
      errno = verdict.reason;                                                                                 \
    } else {                                                                                                  \
      result = (invocation);                                                                                  \
      if (recording && result >= 0) {                                                                         \
        log_call(verdict.number, call, 0, call == FAULTS_RENAME ? 0 : inode_at(path), 0, path, other, "", 0); \
      }                                                                                                       \
    }                                                                                                         \
    if (verdict.kill_after)                                                                                   \
      die_now();                                                                                              \
    end_call(recording);                                                                                      \
    return (int)result;                                                                                       \
  } while (0)

static int open_below(int directory, const char* path, int flags, mode_t mode) {
  char full[PATH_MAX];
  if (flags & O_DIRECTORY && watched_path(directory, path, full)) {
    const int reason = judge_deed(FAULTS_OPEN_A_FOLDER, full);
    if (reason) {
      errno = reason;
      return -1;
    }
  }
  if (!(flags & (O_CREAT | O_TRUNC)) || !watched_path(directory, path, full)) {
    return (int)syscall(SYS_openat, directory, path, flags, mode);
  }
  const int recording = begin_call();
  const int created = inode_at(full) == 0;
  const struct verdict verdict = judge_call(FAULTS_OPEN, full, 0);
  int result = -1;
  if (verdict.reason) {
    errno = verdict.reason;
  } else {
    result = (int)syscall(SYS_openat, directory, path, flags, mode);
    if (recording && result >= 0) {
      log_call(verdict.number, FAULTS_OPEN, (created ? FAULTS_CREATED : 0) | (flags & O_TRUNC ? FAULTS_EMPTIED : 0),
               inode_of(result), 0, full, "", "", 0);
    }
  }
  if (verdict.kill_after)
    die_now();
  end_call(recording);
  return result;
}

static mode_t mode_of(int flags, va_list arguments) { return flags & O_CREAT ? va_arg(arguments, mode_t) : 0; }

#define OPEN_LIKE(name, before, directory)            \
  int name(before const char* path, int flags, ...) { \
    va_list arguments;                                \
    va_start(arguments, flags);                       \
    const mode_t mode = mode_of(flags, arguments);    \
    va_end(arguments);                                \
    return open_below(directory, path, flags, mode);  \
  }
#define NOTHING
#define DIRECTORY_FIRST int directory,
OPEN_LIKE(open, NOTHING, AT_FDCWD)
OPEN_LIKE(open64, NOTHING, AT_FDCWD)
OPEN_LIKE(openat, DIRECTORY_FIRST, directory)
OPEN_LIKE(openat64, DIRECTORY_FIRST, directory)
int creat(const char* path, mode_t mode) { return open_below(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char* path, mode_t mode) { return creat(path, mode); }

/* at < 0: at the position of the descriptor. */
static ssize_t write_below(int descriptor, const void* data, size_t bytes, off_t at) {
  char path[PATH_MAX];
  const int watched = watched_descriptor(descriptor, path);
  const int recording = watched ? begin_call() : 0;
  struct verdict verdict = {0, 0, 0, 0};
  if (watched)
    verdict = judge_call(FAULTS_WRITE, path, bytes);
  ssize_t result = -1;
  if (verdict.reason) {
    errno = verdict.reason;
  } else {
    const size_t count = verdict.half ? bytes / 2 : bytes;
    result = at < 0 ? syscall(SYS_write, descriptor, data, count) : syscall(SYS_pwrite64, descriptor, data, count, at);
    if (recording && result > 0) {
      const off_t offset = at < 0 ? lseek(descriptor, 0, SEEK_CUR) - result : at;
      log_call(verdict.number, FAULTS_WRITE, 0, inode_of(descriptor), (uint64_t)offset, path, "", data, (size_t)result);
    }
  }
  if (verdict.kill_after)
    die_now();
  end_call(recording);
  return result;
}

ssize_t write(int descriptor, const void* data, size_t bytes) { return write_below(descriptor, data, bytes, -1); }
ssize_t pwrite(int descriptor, const void* data, size_t bytes, off_t at) {
  return write_below(descriptor, data, bytes, at);
}
ssize_t pwrite64(int descriptor, const void* data, size_t bytes, off64_t at) {
  return write_below(descriptor, data, bytes, at);
}
/* Writes one piece at a time: callers must continue after a short write anyway. */
ssize_t writev(int descriptor, const struct iovec* pieces, int count) {
  char path[PATH_MAX];
  if (!watched_descriptor(descriptor, path))
    return syscall(SYS_writev, descriptor, pieces, count);
  for (int i = 0; i < count; ++i) {
    if (pieces[i].iov_len > 0)
      return write_below(descriptor, pieces[i].iov_base, pieces[i].iov_len, -1);
  }
  return 0;
}
/* Callers fall back to read and write. */
ssize_t copy_file_range(int in, off64_t* in_at, int out, off64_t* out_at, size_t bytes, unsigned flags) {
  char path[PATH_MAX];
  if (watched_descriptor(out, path)) {
    errno = ENOSYS;
    return -1;
  }
  return syscall(SYS_copy_file_range, in, in_at, out, out_at, bytes, flags);
}
ssize_t sendfile(int out, int in, off_t* offset, size_t bytes) {
  char path[PATH_MAX];
  if (watched_descriptor(out, path)) {
    errno = EINVAL;
    return -1;
  }
  return syscall(SYS_sendfile, out, in, offset, bytes);
}
ssize_t sendfile64(int out, int in, off64_t* offset, size_t bytes) { return sendfile(out, in, offset, bytes); }

/* A call on a descriptor that neither takes nor keeps data of the caller. */
#define DESCRIPTOR_CALL(call, descriptor, size, invocation)                                         \
  do {                                                                                              \
    char path[PATH_MAX];                                                                            \
    if (!watched_descriptor(descriptor, path))                                                      \
      return (int)(invocation);                                                                     \
    const int recording = begin_call();                                                             \
    const struct verdict verdict = judge_call(call, path, 0);                                       \
    long result = -1;                                                                               \
    if (verdict.reason) {                                                                           \
      errno = verdict.reason;                                                                       \
    } else {                                                                                        \
      result = (invocation);                                                                        \
      if (recording && result >= 0) {                                                               \
        log_call(verdict.number, call, 0, inode_of(descriptor), (uint64_t)(size), path, "", "", 0); \
      }                                                                                             \
    }                                                                                               \
    if (verdict.kill_after)                                                                         \
      die_now();                                                                                    \
    end_call(recording);                                                                            \
    return (int)result;                                                                             \
  } while (0)

/* A sync below the folder is recorded, not done: no power is lost, and thousands of runs need not wait for the disk. */
static long sync_elsewhere(int descriptor, long call) {
  char path[PATH_MAX];
  return watched_descriptor(descriptor, path) ? 0 : syscall(call, descriptor);
}
int fsync(int descriptor) { DESCRIPTOR_CALL(FAULTS_SYNC, descriptor, 0, sync_elsewhere(descriptor, SYS_fsync)); }
int fdatasync(int descriptor) {
  DESCRIPTOR_CALL(FAULTS_SYNC, descriptor, 0, sync_elsewhere(descriptor, SYS_fdatasync));
}
int syncfs(int descriptor) { return (int)sync_elsewhere(descriptor, SYS_syncfs); }
int sync_file_range(int descriptor, off64_t from, off64_t bytes, unsigned flags) {
  DESCRIPTOR_CALL(FAULTS_SYNC_RANGE, descriptor, 0, syscall(SYS_sync_file_range, descriptor, from, bytes, flags));
}
int ftruncate(int descriptor, off_t size) {
  DESCRIPTOR_CALL(FAULTS_TRUNCATE, descriptor, size, syscall(SYS_ftruncate, descriptor, size));
}
int ftruncate64(int descriptor, off64_t size) { return ftruncate(descriptor, size); }
int truncate(const char* path, off_t size) {
  const int descriptor = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
  if (descriptor < 0)
    return -1;
  const int result = ftruncate(descriptor, size), kept = errno;
  syscall(SYS_close, descriptor);
  errno = kept;
  return result;
}
int truncate64(const char* path, off64_t size) { return truncate(path, size); }
int fallocate(int descriptor, int mode, off_t from, off_t bytes) {
  DESCRIPTOR_CALL(FAULTS_ALLOCATE, descriptor, from + bytes, syscall(SYS_fallocate, descriptor, mode, from, bytes));
}
int fallocate64(int descriptor, int mode, off64_t from, off64_t bytes) {
  return fallocate(descriptor, mode, from, bytes);
}
int posix_fallocate(int descriptor, off_t from, off_t bytes) {
  return fallocate(descriptor, 0, from, bytes) == 0 ? 0 : errno;
}
int posix_fallocate64(int descriptor, off64_t from, off64_t bytes) { return posix_fallocate(descriptor, from, bytes); }

int close(int descriptor) {
  char path[PATH_MAX];
  const int mode = root_length > 0 ? fcntl(descriptor, F_GETFL) : -1;
  if (mode < 0 || (mode & O_ACCMODE) == O_RDONLY || !watched_descriptor(descriptor, path)) {
    return (int)syscall(SYS_close, descriptor);
  }
  const int recording = begin_call();
  const struct verdict verdict = judge_call(FAULTS_CLOSE, path, 0);
  if (recording)
    log_call(verdict.number, FAULTS_CLOSE, 0, inode_of(descriptor), 0, path, "", "", 0);
  const int result = (int)syscall(SYS_close, descriptor); /* an error does not keep it open */
  if (verdict.kill_after)
    die_now();
  if (verdict.reason)
    errno = verdict.reason;
  end_call(recording);
  return verdict.reason ? -1 : result;
}

int renameat2(int from_directory, const char* from, int to_directory, const char* to, unsigned flags) {
  char source[PATH_MAX], target[PATH_MAX];
  const int below = watched_path(from_directory, from, source) | watched_path(to_directory, to, target);
  if (!below)
    return (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, flags);
  PATH_CALL(FAULTS_RENAME, source, target, syscall(SYS_renameat2, from_directory, from, to_directory, to, flags));
}
int renameat(int from_directory, const char* from, int to_directory, const char* to) {
  return renameat2(from_directory, from, to_directory, to, 0);
}
int rename(const char* from, const char* to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int linkat(int from_directory, const char* from, int to_directory, const char* to, int flags) {
  char source[PATH_MAX], target[PATH_MAX];
  const int below = watched_path(from_directory, from, source) | watched_path(to_directory, to, target);
  if (!below)
    return (int)syscall(SYS_linkat, from_directory, from, to_directory, to, flags);
  PATH_CALL(FAULTS_LINK, source, target, syscall(SYS_linkat, from_directory, from, to_directory, to, flags));
}
int link(const char* from, const char* to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int symlinkat(const char* target, int directory, const char* path) {
  char full[PATH_MAX];
  if (!watched_path(directory, path, full))
    return (int)syscall(SYS_symlinkat, target, directory, path);
  PATH_CALL(FAULTS_SYMLINK, full, target, syscall(SYS_symlinkat, target, directory, path));
}
int symlink(const char* target, const char* path) { return symlinkat(target, AT_FDCWD, path); }

int unlinkat(int directory, const char* path, int flags) {
  char full[PATH_MAX];
  if (!watched_path(directory, path, full))
    return (int)syscall(SYS_unlinkat, directory, path, flags);
  const int call = flags & AT_REMOVEDIR ? FAULTS_RMDIR : FAULTS_UNLINK;
  PATH_CALL(call, full, "", syscall(SYS_unlinkat, directory, path, flags));
}
int unlink(const char* path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char* path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char* path) {
  struct stat status;
  const int is_folder = fstatat(AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
  return unlinkat(AT_FDCWD, path, is_folder ? AT_REMOVEDIR : 0);
}

int mkdirat(int directory, const char* path, mode_t mode) {
  char full[PATH_MAX];
  if (!watched_path(directory, path, full))
    return (int)syscall(SYS_mkdirat, directory, path, mode);
  PATH_CALL(FAULTS_MKDIR, full, "", syscall(SYS_mkdirat, directory, path, mode));
}
int mkdir(const char* path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
char* mkdtemp(char* pattern) {
  static uint64_t counter;
  char* last = pattern + strlen(pattern) - 6;
  for (int tries = 0; tries < 100; ++tries) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t seed = (uint64_t)now.tv_nsec * 1000003U + (uint64_t)getpid() * 7919U +
                    __atomic_add_fetch(&counter, 1, __ATOMIC_SEQ_CST) * 104729U;
    for (int i = 0; i < 6; ++i, seed /= 26)
      last[i] = (char)('a' + seed % 26);
    if (mkdir(pattern, 0700) == 0)
      return pattern;
    if (errno != EEXIST)
      return NULL;
  }
  return NULL;
}

int fchmodat(int directory, const char* path, mode_t mode, int flags) {
  char full[PATH_MAX];
  (void)flags; /* the kernel's call knows none */
  if (!watched_path(directory, path, full))
    return (int)syscall(SYS_fchmodat, directory, path, mode);
  PATH_CALL(FAULTS_CHMOD, full, "", syscall(SYS_fchmodat, directory, path, mode));
}
int chmod(const char* path, mode_t mode) { return fchmodat(AT_FDCWD, path, mode, 0); }
