// `maskedkd_pack pack`, also the default command of maskedkd_pack: packs images into shards.
#pragma once

namespace maskedkd {

class MpiSession;

// Collective.
int run_pack_command(const MpiSession& session, int argc, const char* const* argv);

}  // namespace maskedkd
