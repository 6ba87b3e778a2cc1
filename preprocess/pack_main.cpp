// maskedkd_pack: packs images into shards, verifies and describes packed sets, and extracts images from them.
#include "maskedkd/cli/commands.hpp"
#include "maskedkd/cli/run_main.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "preprocess/inspect.hpp"
#include "preprocess/pack_command.hpp"
#include "preprocess/verify.hpp"

#include <cstdio>
#include <string_view>

namespace maskedkd {
namespace {

// session: nullptr for the commands that run without MPI.
CommandSet commands(const MpiSession* session) {
  return CommandSet(
      "maskedkd_pack",
      "Packs images into sharded, checksummed HDF5 files that maskedkd_train streams, and inspects such sets. Without "
      "a command it packs, with the flags that 'maskedkd_pack pack --help' lists.",
      {{"pack", "pack images into shards; many ranks",
        [session](int argc, const char* const* argv) { return run_pack_command(*session, argc, argv); }},
       {"verify", "read every byte and name what is damaged; many ranks",
        [session](int argc, const char* const* argv) { return run_verify_command(*session, argc, argv); }},
       {"info", "describe a packed set", run_info_command},
       {"extract", "write one image to a file", run_extract_command}});
}

int run(const MpiSession& session, int argc, char** argv) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first.starts_with("-") && first != "--help") {
    return run_pack_command(session, argc, argv);
  }
  const CommandSet set = commands(&session);
  const Command* command = set.choose(argc, argv);
  if (command == nullptr) {
    if (session.rank() == 0) {
      std::fputs(set.help().c_str(), stdout);
    }
    return 0;
  }
  return command->run(argc - 1, argv + 1);
}

int run_alone(int argc, char** argv) { return commands(nullptr).run(argc, argv); }

}  // namespace
}  // namespace maskedkd

int main(int argc, char** argv) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first == "info" || first == "extract") {
    return maskedkd::run_main(argc, argv, maskedkd::run_alone);
  }
  return maskedkd::run_main(argc, argv, maskedkd::run);
}
