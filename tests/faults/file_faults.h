/* Faults at file-system calls. The library that defines these is linked or preloaded in front of libc. It numbers
 * (from 1) the calls that change something below one folder or make such a change durable, and at a chosen call kills
 * the process, makes the call fail, or cuts a write short. It can record all calls with their data, so that a power cut
 * can be simulated after any of them (power_cut.hpp).
 *
 * A preloaded program is controlled by its environment: MASKEDKD_FAULTS_ROOT (the folder, no links in it), and
 * optionally MASKEDKD_FAULTS_PLAN ("KIND N ERRNO" in numbers), MASKEDKD_FAULTS_STATE (a file that holds a struct
 * faults_counts) and MASKEDKD_FAULTS_LOG. A linked program calls the functions, also in forked children. */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum faults_kind {
  FAULTS_NONE,
  FAULTS_KILL_BEFORE, /* SIGKILL instead of the call */
  FAULTS_KILL_AFTER,
  FAULTS_KILL_HALF, /* writes only: after half of the bytes */
  FAULTS_ERROR,     /* this call fails with the errno, where it can (faults_applies) */
  FAULTS_ERROR_ON,  /* this and all later ones, as when a disk is taken away */
  FAULTS_SHORT,     /* writes only: half of the bytes, which is no error */
  FAULTS_FULL_DISK, /* from here on there is space for half of a write, then for nothing */
  FAULTS_CANNOT     /* the file system can't do it: each call of a kind (N: enum faults_deed) fails with the errno */
};

enum faults_deed {
  FAULTS_SYNC_A_FILE = 1,
  FAULTS_SYNC_A_FOLDER,
  FAULTS_OPEN_A_FOLDER,
  FAULTS_RENAME_A_FILE,
  FAULTS_RENAME_A_FOLDER,
  FAULTS_MAKE_A_LINK,
  FAULTS_CHANGE_A_MODE,
  /* These change nothing and have no number. */
  FAULTS_BEGIN_TO_SYNC,
  FAULTS_LOCK,
  FAULTS_ADVISE,
  FAULTS_TELL_SPACE,
  FAULTS_MAP,
  FAULTS_LAST_DEED = FAULTS_MAP
};

enum faults_call {
  FAULTS_MARK, /* not a call: see faults_mark */
  FAULTS_OPEN, /* that creates or empties */
  FAULTS_WRITE,
  FAULTS_TRUNCATE,
  FAULTS_ALLOCATE,
  FAULTS_SYNC,
  FAULTS_SYNC_RANGE, /* promises nothing */
  FAULTS_RENAME,
  FAULTS_LINK,
  FAULTS_SYMLINK,
  FAULTS_UNLINK,
  FAULTS_RMDIR,
  FAULTS_MKDIR,
  FAULTS_CHMOD,
  FAULTS_CLOSE /* of what was open for writing */
};

/* Memory that forked children share with their parent. */
struct faults_counts {
  uint64_t calls; /* since the last faults_arm */
  uint64_t fired; /* how many of them the plan touched */
  uint32_t call;  /* the first that it touched: enum faults_call */
  char path[500];
};

/* One call of the log; path, other and data follow it. */
struct faults_logged_call {
  uint64_t number;
  uint32_t call;
  uint32_t flags; /* FAULTS_CREATED, FAULTS_EMPTIED */
  uint64_t inode;
  uint64_t offset; /* or the new size */
  uint64_t path_bytes, other_bytes, data_bytes;
};
enum { FAULTS_CREATED = 1, FAULTS_EMPTIED = 2 };

void faults_watch(const char* root);
void faults_arm(int kind, uint64_t n, int reason);
void faults_record(const char* log); /* until faults_record(0); a log that is there is replaced */
void faults_mark(uint64_t value);    /* into the log: what the program has promised by now */
const struct faults_counts* faults_state(void);
int faults_applies(int call, int reason);

#ifdef __cplusplus
}
#endif
