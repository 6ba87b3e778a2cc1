#!/usr/bin/env bash
# run.sh PROGRAM SEEDS FOLDER DICTIONARY: a fuzz target on its seeds, then MASKEDKD_FUZZ_RUNS inputs in all (20,000), the
# same ones each time. An input that fails stays in FOLDER. Ends with 77 where the target could not be built.
set -euo pipefail
program=$1 seeds=$2 folder=$3 dictionary=$4
if [ ! -x "$program" ]; then
  echo "skipped: $(basename "$program") needs clang with libFuzzer (env/install.sh tests), then configure again"
  exit 77
fi
# New inputs go into the first folder named: never the one in the checkout.
found="$folder/$(basename "$program")-found"
rm -rf "$found"
mkdir -p "$found"
exec "$program" -runs="${MASKEDKD_FUZZ_RUNS:-20000}" -seed=1 -max_len=1024 -timeout=20 \
  -dict="$(dirname "${BASH_SOURCE[0]}")/$dictionary" -artifact_prefix="$folder/$(basename "$program")-" -verbosity=0 "$found" "$seeds"
