#!/usr/bin/env bash
# Runs clang-tidy with the checks of .clang-tidy: tests/house/tidy.sh [FILE.cpp...], default all of src/ and
# preprocess/.
# A file takes seconds (LibTorch's headers); nothing is built. Exits with 1 if something was found.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
source env/paths.sh
command -v clang-tidy >/dev/null || { echo "clang-tidy is missing: apt-get install clang-tidy" >&2; exit 1; }
build="build-tidy"
mkdir -p "$build"
# Without ccache in front of the compiler, because clang-tidy reads the compile commands.
cmake -G Ninja -B "$build" -S . -DMASKEDKD_CCACHE=OFF >"$build/configure.log" 2>&1 || { cat "$build/configure.log" >&2; exit 1; }
[ $# -gt 0 ] || mapfile -t files < <(find src preprocess -name '*.cpp' | sort)
[ $# -eq 0 ] || files=("$@")
printf '%s\n' "${files[@]}" |
  xargs -P "$(nproc)" -n 1 clang-tidy -p "$build" --quiet --warnings-as-errors='*' \
    --extra-arg=-include --extra-arg="$root/tests/house/source_location.hpp" 2>/dev/null
