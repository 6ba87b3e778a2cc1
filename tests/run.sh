#!/usr/bin/env bash
# Installs what is missing, builds with warnings as errors, runs the tests. Arguments go to ctest:
#
#   tests/run.sh                 all
#   tests/run.sh -L unit         those with one label: unit, mpi, cluster, gpu
#   tests/run.sh -R sampler -V   those whose name matches, with their output
#
# A test has 900 seconds; with more work to do (tests/bench/README.md, Campaigns) say --timeout.
#
# MASKEDKD_BUILD names the build folder (default: build/tests).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${MASKEDKD_BUILD:-build/tests}
env/install.sh tests data
env/build.sh "$build" -DMASKEDKD_WERROR=ON -DMASKEDKD_TESTS=ON
source env/paths.sh
# Much of a test under mpiexec is waiting for processes to start: two at a time on each core. Ranks that wait for one
# another must then not spin.
export OMPI_MCA_mpi_yield_when_idle=1
ctest --test-dir "$build" --output-on-failure --timeout 900 --parallel $((2 * $(nproc))) "$@"
