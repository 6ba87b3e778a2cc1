// maskedkd_pack: images into shards, and what there is to do with a set of them. Without a command's word it packs.
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

// session: nullptr for the commands that are chosen before there is one.
CommandSet commands(const MpiSession* session) {
  return CommandSet(
      "maskedkd_pack",
      "Packs images into sharded, checksummed HDF5 files that maskedkd_train streams, and looks after them. Without a "
      "command's word it packs.",
      {{"pack", "images into shards; many ranks",
        [session](int argc, const char* const* argv) { return run_pack_command(*session, argc, argv); }},
       {"verify", "reads every byte and names what is damaged; many ranks",
        [session](int argc, const char* const* argv) { return run_verify_command(*session, argc, argv); }},
       {"info", "what a packed set holds", run_info_command},
       {"extract", "one image into a file", run_extract_command}});
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
