#include "preprocess/record_sizes.hpp"

#include "maskedkd/base/progress.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "preprocess/worker_threads.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace maskedkd {
namespace {

std::uint64_t size_of(const ImageSource& source, const RecordOptions& options, std::int64_t image,
                      bool skip_unreadable) {
  try {
    return source.record_bytes(image, options);
  } catch (const UnreadableImage& error) {
    if (skip_unreadable) {
      return 0;
    }
    throw Error(fmt::format("{} can't be read: {}", source.describe(image), error.what()),
                "make it readable, or pack with --on-broken skip", ExitCode::failure, error.where());
  }
}

// The sizes of images begin .. end - 1.
std::vector<std::uint64_t> sizes_of(const ImageSource& source, const RecordOptions& options, std::int64_t begin,
                                    std::int64_t end, int threads, bool skip_unreadable, Progress& progress) {
  constexpr std::chrono::milliseconds kPollInterval(50);
  std::vector<std::uint64_t> sizes(static_cast<std::size_t>(end - begin));
  std::atomic<std::int64_t> next = begin;
  WorkerThreads workers(
      static_cast<int>(std::clamp<std::int64_t>(end - begin, 1, threads)), [&](const std::atomic<bool>&) {
        const std::int64_t image = next.fetch_add(1);
        if (image >= end) {
          return false;
        }
        sizes[static_cast<std::size_t>(image - begin)] = size_of(source, options, image, skip_unreadable);
        return true;
      });
  while (!workers.wait(kPollInterval)) {
    progress.update(std::min(next.load(), end) - begin, "");
  }
  return sizes;
}

}  // namespace

std::vector<std::uint64_t> record_sizes(const MpiSession& session, const ImageSource& source,
                                        const RecordOptions& options, int threads, bool skip_unreadable) {
  std::vector<std::uint64_t> sizes;
  if (!options.decoded) {  // known from the list
    for (std::int64_t i = 0; i < source.size(); ++i) {
      sizes.push_back(source.record_bytes(i, options));
    }
    return sizes;
  }
  const std::int64_t begin = source.size() * session.rank() / session.size(),
                     end = source.size() * (session.rank() + 1) / session.size();
  Progress progress("reading headers", "img", end - begin, session.rank() == 0);
  const std::vector<std::uint64_t> own = sizes_of(source, options, begin, end, threads, skip_unreadable, progress);
  // Sent in this machine's representation: the ranks of a job run on machines of one kind.
  for (const std::string& bytes :
       session.all_gather(std::string(reinterpret_cast<const char*>(own.data()), own.size() * sizeof(std::uint64_t)))) {
    const std::size_t known = sizes.size();
    sizes.resize(known + bytes.size() / sizeof(std::uint64_t));
    std::memcpy(sizes.data() + known, bytes.data(), bytes.size());
  }
  return sizes;
}

}  // namespace maskedkd
