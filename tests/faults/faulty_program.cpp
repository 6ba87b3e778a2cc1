#include "faults/faulty_program.hpp"

#include <fstream>
#include <sstream>

namespace maskedkd::testing {

ProgramEnd run_faulty_program(const std::vector<std::string>& command, const std::filesystem::path& root,
                              const FaultPoint& point, const std::filesystem::path& log) {
  const std::filesystem::path state = root.string() + ".faults";
  std::filesystem::remove(state);
  std::vector<std::string> argv = {"env", "LD_PRELOAD=" MASKEDKD_FILE_FAULTS, "MASKEDKD_FAULTS_ROOT=" + root.string(),
                                   "MASKEDKD_FAULTS_STATE=" + state.string(),
                                   "MASKEDKD_FAULTS_PLAN=" + std::to_string(point.kind) + " " +
                                       std::to_string(point.n) + " " + std::to_string(point.reason)};
  if (!log.empty()) {
    argv.push_back("MASKEDKD_FAULTS_LOG=" + log.string());
  }
  argv.insert(argv.end(), command.begin(), command.end());
  const ProcessResult result = run_process(argv);
  faults_counts counts{};
  std::ifstream(state, std::ios::binary).read(reinterpret_cast<char*>(&counts), sizeof counts);
  return {result.exit_code, result.output, counts.calls, counts.fired,
          std::string(name_of_call(static_cast<int>(counts.call))) + " " + counts.path};
}

std::vector<std::string> error_lines(const std::string& output) {
  std::vector<std::string> found;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (line.find(" error ") != std::string::npos || line.find(" critical ") != std::string::npos) {
      found.push_back(line);
    }
  }
  return found;
}

}  // namespace maskedkd::testing
