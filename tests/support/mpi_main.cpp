#include "maskedkd/comm/mpi_session.hpp"
#include "support/mpi_test.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>

namespace maskedkd::testing {
namespace {

const MpiSession* current_session = nullptr;

}  // namespace

const MpiSession& mpi_session() { return *current_session; }

}  // namespace maskedkd::testing

// Returns the worst result of all ranks. Rank 0 prints the list of tests, every rank its failures.
int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const maskedkd::MpiSession session(argc, argv);
  maskedkd::testing::current_session = &session;
  if (session.rank() != 0) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    struct OnlyFailures : testing::EmptyTestEventListener {
      int rank = 0;
      void OnTestPartResult(const testing::TestPartResult& result) override {
        if (result.failed()) {
          std::fprintf(stderr, "[rank %d] %s:%d: %s\n", rank, result.file_name() ? result.file_name() : "?",
                       result.line_number(), result.message());
        }
      }
    };
    delete listeners.Release(listeners.default_result_printer());
    auto printer = std::make_unique<OnlyFailures>();
    printer->rank = session.rank();
    listeners.Append(printer.release());
  }
  const std::array<double, 1> result = {static_cast<double>(RUN_ALL_TESTS())};
  double worst = 0;
  for (double other : session.all_gather(result)) {
    worst = std::max(worst, other);
  }
  return static_cast<int>(worst);
}
