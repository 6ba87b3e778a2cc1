#pragma once

namespace maskedkd {

class MpiSession;

// `maskedkd_pack pack` and, without a command word, maskedkd_pack: images into shards. Collective.
int run_pack_command(const MpiSession& session, int argc, const char* const* argv);

}  // namespace maskedkd
