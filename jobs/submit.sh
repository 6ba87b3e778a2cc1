#!/usr/bin/env bash
# Submits a job with the settings of env/site.sh.
#
#   jobs/submit.sh [--dry-run] [FLAG OF SBATCH]... pack|train|evaluate|sweep [ARGUMENT]...
#
# --dry-run prints the command without submitting. Flags of sbatch have the form --name=value and override the site's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
help() { sed -n '2,6s/^# \{0,1\}//p' jobs/submit.sh; }
usage() { help >&2; exit 2; }
dry=
given=()
while [ $# -gt 0 ] && [ "${1#-}" != "$1" ]; do
  case $1 in
    --dry-run) dry=1 ;;
    -h | --help) help; exit ;;
    *) given+=("$1") ;;
  esac
  shift
done
if [ $# -eq 0 ] || [ ! -f "jobs/$1.sbatch" ]; then usage; fi
kind=$1
job=jobs/$1.sbatch
shift
for argument in "$@"; do
  [ "$argument" != --dry-run ] || usage  # after the job's name it would go to the program, and the job be submitted
done
# shellcheck source=jobs/lib.sh
source jobs/lib.sh
# Checks here what would otherwise fail only after the job has waited in the queue.
if [ "$kind" = train ] && [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then named_file recipe "$1" >/dev/null; fi
if [ "$kind" = sweep ]; then
  case " ${given[*]} ${SBATCH_ARRAY_INX:+--array=}" in
    *" --array="* | *" -a"*) ;;
    *) die "a sweep needs --array=FIRST-LAST before its name" ;;
  esac
  named_file sweep "${1:-}" >/dev/null
fi
mapfile -t flags < <(sbatch_flags)
command=(sbatch "${flags[@]}" "${given[@]}" "$job" "$@")
if [ -n "$dry" ]; then
  printf '%q ' "${command[@]}"
  printf '\n'
else
  command -v sbatch >/dev/null || die "sbatch was not found; without Slurm, run: bash $job $*"
  case " ${given[*]}" in *" --clusters"* | *" -M"*) ;; *) require_slurm bash "$job" "$@" ;; esac
  case " ${SBATCH_EXPORT:+--export=$SBATCH_EXPORT} ${given[*]} " in
    *" --export=NONE "*) [ -z "${MASKEDKD_SITE:-}" ] || die "with --export=NONE the job would not see MASKEDKD_SITE: edit env/site.sh" ;;
  esac
  export MASKEDKD_ROOT=$PWD
  unset_slurm_variables
  exec "${command[@]}"
fi
