// The MPI session that a test under mpiexec shares (tests/support/mpi_main.cpp owns it).
#pragma once

namespace maskedkd {
class MpiSession;
}

namespace maskedkd::testing {

const MpiSession& mpi_session();

}  // namespace maskedkd::testing
