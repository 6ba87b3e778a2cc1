// The sizes of a set's records before any is made, from which the layout of the shards is planned.
#pragma once

#include "preprocess/image_source.hpp"

namespace maskedkd {

class MpiSession;

// ImageSource::record_bytes() of every image of the source. Collective: where images are to be decoded, `threads`
// threads of every rank read the headers of the rank's part, with progress on rank 0. An image that the user may not
// read counts as 0 bytes with skip_unreadable; without it, it is an Error before anything is packed, because the
// shards' layout would change once it can be read. Throws Error.
std::vector<std::uint64_t> record_sizes(const MpiSession& session, const ImageSource& source,
                                        const RecordOptions& options, int threads, bool skip_unreadable);

}  // namespace maskedkd
