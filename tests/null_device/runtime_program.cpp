// runtime_program SCENARIO: a small program that uses CUDA's runtime rightly or wrongly, for library_test.py and
// schedules_test.py. Prints the codes of calls that matter. Exit code: 0, or 3 where bytes are not those expected.
#include "scenarios.hpp"

int main(int argc, char** argv) {
  for (const Scenarios& scenarios : {mistakes(), captures(), schedules()}) {
    const auto found = scenarios.find(argc > 1 ? argv[1] : "");
    if (found != scenarios.end()) {
      return found->second();
    }
  }
  std::fprintf(stderr, "runtime_program SCENARIO\n");
  return 2;
}
