/* The interface between the interposed calls and the plan of faults. */
#pragma once

#include "file_faults.h"

#include <stddef.h>

/* What happens to a call. */
struct verdict {
  uint64_t number; /* 0: nothing */
  int reason;      /* fail with it */
  int half, kill_after;
};

struct verdict judge_call(int call, const char* path, size_t bytes); /* counts it */
int judge_deed(int deed, const char* path);                          /* does not; the errno to fail with, or 0 */
int begin_call(void);                                                /* whether it is to be recorded */
void end_call(int recording);
/* Valid only between these two calls. */
void log_call(uint64_t number, int call, uint32_t flags, uint64_t inode, uint64_t offset, const char* path,
              const char* other, const void* data, size_t bytes);
_Noreturn void die_now(void);

/* Whether the path lies below the watched folder; out (PATH_MAX): the path. */
int watched_descriptor(int descriptor, char* out);
int watched_path(int directory, const char* path, char* out);
