// Preloaded into a rank: makes a chosen call sleep forever, or each of its calls for a while.
//   HANG_CALL    pread (of a shard, by a thread beside the main one), accept4, MPI_Sendrecv or MPI_Allgather
//   HANG_PATH    pread: a part of the file's path; unset: "/shard-"
//   HANG_RANK    the rank that hangs, numbered by Open MPI; unset: all
//   HANG_NUMBER  which of its calls, from 1; 0: each
//   HANG_MS      how long; unset: forever
#define _GNU_SOURCE
#include <dlfcn.h>
#include <mpi.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int number_of(const char* name, int otherwise) {
  const char* text = getenv(name);
  return text != NULL ? atoi(text) : otherwise;
}

static void maybe_sleep(const char* call, atomic_int* calls) {
  const char* chosen = getenv("HANG_CALL");
  const int rank = number_of("HANG_RANK", -1);
  if (chosen == NULL || strcmp(call, chosen) != 0 || (rank >= 0 && rank != number_of("OMPI_COMM_WORLD_RANK", 0))) {
    return;
  }
  const int number = number_of("HANG_NUMBER", 0), ms = number_of("HANG_MS", -1);
  if (number != 0 && atomic_fetch_add(calls, 1) + 1 != number) {
    return;
  }
  do {
    usleep(ms < 0 ? 1000000 : ms * 1000);
  } while (ms < 0);
}

static int is_shard(int file) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  path[length > 0 ? length : 0] = '\0';
  const char* chosen = getenv("HANG_PATH");
  return strstr(path, chosen != NULL ? chosen : "/shard-") != NULL && gettid() != getpid();
}

// The next function of that name, which is the system's.
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static atomic_int preads;

ssize_t pread(int file, void* bytes, size_t count, off_t offset) {
  if (is_shard(file)) {
    maybe_sleep("pread", &preads);
  }
  return NEXT(pread)(file, bytes, count, offset);
}

ssize_t pread64(int file, void* bytes, size_t count, off64_t offset) {
  if (is_shard(file)) {
    maybe_sleep("pread", &preads);
  }
  return NEXT(pread64)(file, bytes, count, offset);
}

int accept4(int file, struct sockaddr* address, socklen_t* length, int flags) {
  static atomic_int calls;
  maybe_sleep("accept4", &calls);
  return NEXT(accept4)(file, address, length, flags);
}

int MPI_Sendrecv(const void* send, int send_count, MPI_Datatype send_type, int to, int send_tag, void* receive,
                 int receive_count, MPI_Datatype receive_type, int from, int receive_tag, MPI_Comm comm,
                 MPI_Status* status) {
  static atomic_int calls;
  maybe_sleep("MPI_Sendrecv", &calls);
  return PMPI_Sendrecv(send, send_count, send_type, to, send_tag, receive, receive_count, receive_type, from,
                       receive_tag, comm, status);
}

int MPI_Allgather(const void* send, int send_count, MPI_Datatype send_type, void* receive, int receive_count,
                  MPI_Datatype receive_type, MPI_Comm comm) {
  static atomic_int calls;
  maybe_sleep("MPI_Allgather", &calls);
  return PMPI_Allgather(send, send_count, send_type, receive, receive_count, receive_type, comm);
}
