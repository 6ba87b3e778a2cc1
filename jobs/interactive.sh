#!/usr/bin/env bash
# The same jobs at once and before one's eyes: in an allocation of its own (salloc with what env/site.sh says), in the
# one that this shell has, or without Slurm by mpiexec. It is not requeued.
#
#   jobs/interactive.sh [FLAG OF SALLOC]... pack|train|evaluate [ARGUMENT]...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
given=()
while [ $# -gt 0 ] && [ "${1#-}" != "$1" ]; do
  given+=("$1")
  shift
done
if [ $# -eq 0 ] || [ ! -f "jobs/$1.sbatch" ]; then
  sed -n '5s/^# \{0,1\}//p' jobs/interactive.sh >&2
  exit 2
fi
job=jobs/$1.sbatch
shift
# shellcheck source=jobs/lib.sh
source jobs/lib.sh
export MASKEDKD_ROOT=$PWD
if [ -n "${SLURM_JOB_ID:-}" ] || ! command -v salloc >/dev/null; then
  exec bash "$job" "$@"
fi
slurm_answers bash "$job" "$@"
mapfile -t flags < <(sbatch_flags)
forget_this_job
exec salloc "${flags[@]}" "${given[@]}" bash "$job" "$@"
