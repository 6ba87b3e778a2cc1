#!/usr/bin/env bash
# Runs a job in the foreground: in a new allocation (salloc with the settings of env/site.sh), in the allocation of this
# shell, or without Slurm by mpiexec. The job is not requeued.
#
#   jobs/interactive.sh [FLAG OF SALLOC]... pack|train|evaluate [ARGUMENT]...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
help() { sed -n '2,5s/^# \{0,1\}//p' jobs/interactive.sh; }
given=()
while [ $# -gt 0 ] && [ "${1#-}" != "$1" ]; do
  case $1 in -h | --help) help; exit ;; esac
  given+=("$1")
  shift
done
if [ $# -eq 0 ] || [ ! -f "jobs/$1.sbatch" ]; then
  help >&2
  exit 2
fi
job=jobs/$1.sbatch
shift
# shellcheck source=jobs/lib.sh
source jobs/lib.sh
export MASKEDKD_ROOT=$PWD
if [ -n "${SLURM_JOB_ID:-}" ] || ! has_slurm; then
  exec bash "$job" "$@"
fi
require_slurm bash "$job" "$@"
mapfile -t flags < <(sbatch_flags)
unset_slurm_variables
exec salloc "${flags[@]}" "${given[@]}" bash "$job" "$@"
