// maskedkd_ending ends on one rank in the way that its options give, while the other ranks wait or work.
// `maskedkd_ending alone ...` runs without MPI.
#include "maskedkd/base/error.hpp"
#include "maskedkd/cli/options.hpp"
#include "maskedkd/cli/run_main.hpp"
#include "maskedkd/comm/mpi_session.hpp"

#include <c10/util/Exception.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <thread>

namespace maskedkd {
namespace {

// Reads a byte of a mapped page that was truncated from its file.
int byte_of_a_cut_file() {
  std::FILE* const file = std::tmpfile();
  const int descriptor = fileno(file);
  constexpr std::size_t kBytes = 4096;
  if (ftruncate(descriptor, kBytes) != 0) {
    return -1;
  }
  const void* const pages = mmap(nullptr, kBytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
  return ftruncate(descriptor, 0) == 0 ? *static_cast<const volatile unsigned char*>(pages) : -1;
}

// LibTorch reports a broken GPU in this way at the next call.
[[noreturn]] void broken_gpu() {
  throw c10::Error({__func__, __FILE__, __LINE__},
                   "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasLtMatmul`\nframe #0: a stack");
}

// Stands for a tensor in pinned memory, whose destructor calls the GPU.
struct PinnedTensor {
  ~PinnedTensor() { broken_gpu(); }  // NOLINT(bugprone-exception-escape)
};

int finish(const std::string& how) {
  if (how == "lost-mapping") {
    return byte_of_a_cut_file();
  }
  if (how == "failure") {
    throw Error("the disk is full", "free some space");
  }
  if (how == "usage") {
    throw usage_error("the folder is empty", "name another");
  }
  if (how == "no-requeue") {
    throw Error("the loss is not finite at step 7", "lower the learning rate", ExitCode::no_requeue);
  }
  if (how == "memory") {
    throw std::bad_alloc();
  }
  if (how == "standard") {
    throw std::runtime_error("expected a tensor\nframe #0: a stack\nframe #1: and more of it");
  }
  if (how == "gpu") {
    broken_gpu();
  }
  if (how == "gpu-in-destructor") {
    const PinnedTensor pinned;
    broken_gpu();
  }
  if (how == "gpu-memory") {
    throw c10::OutOfMemoryError({__func__, __FILE__, __LINE__}, "CUDA out of memory. Tried to allocate 2.00 GiB.");
  }
  if (how == "foreign") {
    throw 7;
  }
  return static_cast<int>(how == "requeue" ? ExitCode::requeue : ExitCode::finished);
}

int run(const MpiSession& session, int argc, char** argv) {
  std::string how = "finished", others = "barrier";
  int who = -1;
  CommandLine line("maskedkd_ending", "Ends as its options say.", "maskedkd_ending --how failure --who 1");
  line.group("Ending")
      .option("how", how,
              "finished, requeue, failure, usage, no-requeue, memory, standard, foreign, lost-mapping, gpu, "
              "gpu-in-destructor, gpu-memory")
      .option("who", who, "the rank that ends so; -1: all ranks")
      .option("others", others, "what the others do: barrier (they wait in MPI) or deaf (busy, ignoring SIGTERM)");
  if (!line.parse(argc, argv)) {
    std::fputs(line.help().c_str(), stdout);
    return 0;
  }
  if (who == -1 || who == session.rank()) {
    return finish(how);
  }
  if (others == "deaf") {
    std::signal(SIGTERM, SIG_IGN);
    std::this_thread::sleep_for(std::chrono::minutes(5));
  }
  session.barrier();
  return 0;
}

int run_alone(int argc, char** argv) {
  std::string how = "finished";
  CommandLine line("maskedkd_ending alone", "Ends as its options say, without MPI.",
                   "maskedkd_ending alone --how failure");
  line.group("Ending").option("how", how, "finished, requeue, failure, usage, no-requeue, memory, standard or foreign");
  return line.parse(argc, argv) ? finish(how) : 0;
}

}  // namespace
}  // namespace maskedkd

int main(int argc, char** argv) {
  if (argc > 1 && argv[1] == std::string("alone")) {
    return maskedkd::run_main(argc - 1, argv + 1, maskedkd::run_alone);
  }
  return maskedkd::run_main(argc, argv, maskedkd::run);
}
