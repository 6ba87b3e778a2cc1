/* Calls that change nothing and have no number; they can only be unsupported by the file system (FAULTS_CANNOT). */
#define _GNU_SOURCE
#include "fault_plan.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Whether the call must fail; sets errno. */
static int refused(int reason) {
  if (reason)
    errno = reason;
  return reason;
}

static int can_not(int deed, int descriptor) {
  char path[PATH_MAX];
  return descriptor >= 0 && watched_descriptor(descriptor, path) && refused(judge_deed(deed, path));
}

int flock(int descriptor, int operation) {
  return can_not(FAULTS_LOCK, descriptor) ? -1 : (int)syscall(SYS_flock, descriptor, operation);
}

int posix_fadvise(int descriptor, off_t from, off_t bytes, int advice) {
  return can_not(FAULTS_ADVISE, descriptor) || syscall(SYS_fadvise64, descriptor, from, bytes, advice) != 0 ? errno : 0;
}
int posix_fadvise64(int descriptor, off64_t from, off64_t bytes, int advice) {
  return posix_fadvise(descriptor, from, bytes, advice);
}

void* mmap(void* at, size_t bytes, int protection, int flags, int descriptor, off_t offset) {
  return can_not(FAULTS_MAP, descriptor) ? MAP_FAILED
                                         : (void*)syscall(SYS_mmap, at, bytes, protection, flags, descriptor, offset);
}
void* mmap64(void* at, size_t bytes, int protection, int flags, int descriptor, off64_t offset) {
  return mmap(at, bytes, protection, flags, descriptor, offset);
}

int statvfs(const char* path, struct statvfs* out) {
  static int (*next)(const char*, struct statvfs*);
  char full[PATH_MAX];
  if (watched_path(AT_FDCWD, path, full) && refused(judge_deed(FAULTS_TELL_SPACE, full)))
    return -1;
  if (next == NULL)
    *(void**)&next = dlsym(RTLD_NEXT, "statvfs");
  return next(path, out);
}
