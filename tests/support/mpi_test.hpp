// The MPI session of a test under mpiexec, owned by tests/support/mpi_main.cpp.
#pragma once

namespace maskedkd {
class MpiSession;
}

namespace maskedkd::testing {

const MpiSession& mpi_session();

}  // namespace maskedkd::testing
