// How large each record of a set will be, before any is made: shards are filled by it.
#pragma once

#include "preprocess/image_source.hpp"

namespace maskedkd {

class MpiSession;

// ImageSource::record_bytes() of every image of the source. Collective: the headers of images that are to be decoded
// are read by `threads` threads of every rank, each rank its part, with progress on rank 0. An image that the user may
// not read has 0 bytes where skip_unreadable; else it is an Error before anything is packed, as the shards begin at
// other images once it can be read. Throws Error.
std::vector<std::uint64_t> record_sizes(const MpiSession& session, const ImageSource& source,
                                        const RecordOptions& options, int threads, bool skip_unreadable);

}  // namespace maskedkd
