/* Between the interposed calls and the plan that says what happens to them. */
#pragma once

#include "file_faults.h"

#include <stddef.h>

/* What is to happen to a call. */
struct verdict {
  uint64_t number; /* 0: nothing */
  int reason;      /* fail with it */
  int half, kill_after;
};

struct verdict judge_call(int call, const char* path, size_t bytes); /* counts it */
int judge_deed(int deed, const char* path);                          /* does not; the errno to fail with, or 0 */
int begin_call(void);                                                /* whether it is to be recorded */
void end_call(int recording);
/* Only between those two. */
void log_call(uint64_t number, int call, uint32_t flags, uint64_t inode, uint64_t offset, const char* path,
              const char* other, const void* data, size_t bytes);
_Noreturn void die_now(void);

/* Whether it lies below the folder that is watched; out (PATH_MAX): its path. */
int watched_descriptor(int descriptor, char* out);
int watched_path(int directory, const char* path, char* out);
