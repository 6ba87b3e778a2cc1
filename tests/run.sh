#!/usr/bin/env bash
# Installs what is missing, builds with warnings as errors, and runs the tests. Arguments are passed to ctest:
#
#   tests/run.sh                 all tests
#   tests/run.sh -L unit         tests with a label: unit, mpi, tsan, cluster, null_device, gpu, bundle
#   tests/run.sh -R sampler -V   tests whose name matches, with their output
#
# A test may take 900 seconds; for a campaign (tests/bench/README.md, Campaigns) give a longer --timeout.
#
# MASKEDKD_BUILD names the build folder (default: build/tests).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${MASKEDKD_BUILD:-build/tests}
env/install.sh tests data
env/build.sh "$build" -DMASKEDKD_WERROR=ON -DMASKEDKD_TESTS=ON
source env/paths.sh
# Tests under mpiexec mostly wait for processes to start, so two run at a time on each core. Ranks that wait for one
# another must then not spin.
export OMPI_MCA_mpi_yield_when_idle=1
ctest --test-dir "$build" --output-on-failure --timeout 900 --parallel $((2 * $(nproc))) "$@"
