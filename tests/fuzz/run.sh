#!/usr/bin/env bash
# run.sh PROGRAM SEEDS FOLDER DICTIONARY: runs a fuzz target on its seeds, then on inputs up to MASKEDKD_FUZZ_RUNS in
# total (default 20,000), the same ones each time. An input that fails is kept in FOLDER. Exits with 77 if the target
# could not be built.
set -euo pipefail
program=$1 seeds=$2 folder=$3 dictionary=$4
if [ ! -x "$program" ]; then
  echo "skipped: $(basename "$program") needs clang with libFuzzer (env/install.sh tests), then configure again"
  exit 77
fi
# libFuzzer writes new inputs into the first folder, which must not be the one in the checkout.
found="$folder/$(basename "$program")-found"
rm -rf "$found"
mkdir -p "$found"
exec "$program" -runs="${MASKEDKD_FUZZ_RUNS:-20000}" -seed=1 -max_len=1024 -timeout=20 \
  -dict="$(dirname "${BASH_SOURCE[0]}")/$dictionary" -artifact_prefix="$folder/$(basename "$program")-" -verbosity=0 "$found" "$seeds"
