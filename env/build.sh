#!/usr/bin/env bash
# Configures and builds; a second call builds what changed.
#
#   env/build.sh DIR [CMAKE ARGUMENT]...     example: env/build.sh build -DMASKEDKD_CUDA=OFF
set -euo pipefail
# shellcheck source=env/paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
[ $# -gt 0 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; }
directory=${1%/}
shift
mkdir -p "$(dirname "$directory")"
cmake -G Ninja -S "$maskedkd_root" -B "$directory" "$@" >"$directory.configure.log" 2>&1 ||
  { cat "$directory.configure.log" >&2; exit 1; }
rm -f "$directory.configure.log"
cmake --build "$directory"
