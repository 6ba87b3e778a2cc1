#!/usr/bin/env bash
# Compares students that differ only in what their teacher sees, with several seeds each, on any packed set.
#
#   jobs/compare.sh [OPTION]... [RECIPE [FLAG OF maskedkd_train]...]     default RECIPE: fashion_mnist
#
#   --arms NAME,...      of none, whole, keep75, keep50, keep25, random50, lowest50; default: all
#   --seeds N,...        default: 0,1,2
#   --folder PATH        folder of the runs; default: compare-RECIPE in the site's folder of runs
#   --submit [FLAG]...   submit the runs as an array job, with these flags of sbatch (--name=value), instead of running
#                        one after another on this machine
#   --table              only print the results of the finished runs and draw the figure
#
# A second call goes on where the first one was interrupted.
set -euo pipefail
export LC_ALL=C  # decimal points in numbers
cd "$(dirname "${BASH_SOURCE[0]}")/.."
help() { sed -n '2,14s/^# \{0,1\}//p' jobs/compare.sh; }
# shellcheck source=jobs/lib.sh
source jobs/lib.sh

declare -A arm_flags=(
  [none]='--distillation-type none' [whole]='--mask-criterion all'
  [keep75]='--keep 0.75' [keep50]='--keep 0.5' [keep25]='--keep 0.25'
  [random50]='--keep 0.5 --mask-criterion random' [lowest50]='--keep 0.5 --mask-criterion lowest')
all_arms=none,whole,keep75,keep50,keep25,random50,lowest50
chosen_here=(keep mask-criterion keep-schedule keep-start seed output-dir)
of_teacher=(teacher-path teacher-model distillation-type distillation-alpha distillation-tau)

# without_flags NAME,... FLAG...: prints the flags of maskedkd_train without the named ones, one word a line.
without_flags() {
  local names=,$1, name
  shift
  while [ $# -gt 0 ]; do
    name=${1#--}
    name=${name%%=*}
    if [[ $1 != --* || $names != *",${name//_/-},"* ]]; then
      printf '%s\n' "$1"
    elif [[ $1 != *=* && $# -gt 1 ]]; then
      shift  # its value
    fi
    shift
  done
}

# list NAME TEXT: reads TEXT, values separated by commas, into the array NAME.
list() {
  local -n values=$1
  IFS=, read -ra values <<<"$2"
  [ "$(printf '%s\n' "${values[@]}" | sort -u | wc -l)" -eq ${#values[@]} ] || die "--$1 has a value twice: $2"
}

arms_given=$all_arms
seeds_given=0,1,2
folder=
mode=run
sbatch=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) help; exit ;;
    --arms=* | --seeds=* | --folder=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --arms | --seeds | --folder)
      [ -n "${2:-}" ] || die "$1 has no value"
      case $1 in --arms) arms_given=$2 ;; --seeds) seeds_given=$2 ;; --folder) folder=$2 ;; esac
      shift 2 ;;
    --submit) mode=submit; shift ;;
    --table) mode=table; shift ;;
    -*)
      [ "$mode" = submit ] || die "unknown option $1; see jobs/compare.sh --help (flags of maskedkd_train follow the recipe)"
      sbatch+=("$1")
      shift ;;
    *) break ;;
  esac
done
arms=() seeds=()
list arms "$arms_given"
list seeds "$seeds_given"
for arm in "${arms[@]}"; do
  if [ -z "$arm" ] || [ -z "${arm_flags[$arm]:-}" ]; then die "--arms: there is no '$arm'; there are: $all_arms"; fi
done
for seed in "${seeds[@]}"; do
  [[ $seed =~ ^(0|[1-9][0-9]*)$ ]] || die "--seeds: '$seed' is not a whole number"
done
given=$(named_file recipe "${1:-fashion_mnist}")
shift || true
for name in "${chosen_here[@]}"; do
  ! has_flag "$name" '' "$@" || die "--$name is chosen by the comparison; leave it out"
done
[ -n "$folder" ] || folder=$site_runs/compare-$(basename "$given" .conf)
results() { python3 jobs/compare_table.py "$folder" "$arms_given" "$seeds_given"; }
if [ "$mode" = table ]; then
  results
  exit
fi

# The teacher's flags go only to the runs that have one, because maskedkd_train refuses flags without effect.
teacher_flags=()
for name in "${of_teacher[@]}"; do
  value=$(flag_value "$name" "$given" "$@")
  [[ $value != *[\"\']* ]] || die "--$name $value: write it without quotes and spaces"
  [ -z "$value" ] || teacher_flags+=("--$name" "$value")
done
if [[ $arms_given != none ]]; then
  case " ${teacher_flags[*]} " in
    *" --distillation-type none "*) die "$given has distillation-type = none: a comparison needs a teacher" ;;
    *" --teacher-path "* | *" --teacher-model "*) ;;
    *) die "$given names no teacher: give --teacher-path after it" ;;
  esac
fi
data=$(flag_value data-path "$given" "$@")
data=$(expand_path "${data:-$site_data}")
[ -d "$data" ] || die "the folder $data does not exist: pack images into it (README, Pack), or give --data-path after the recipe"
if ! has_flag eval-data-path "$given" "$@" && { [ -f "$data/index.json" ] || [ ! -f "$data/val/index.json" ]; }; then
  die "there is no set to compare on: $data has no packed set val; give --eval-data-path after the recipe"
fi
mapfile -t flags < <(without_flags "$(IFS=,; printf '%s' "${of_teacher[*]}")" "$@")

refused=$(mkdir -p "$folder" 2>&1) || die "the folder of the runs can't be created: $refused"
{ exec 9>>"$folder/.lock"; } 2>/dev/null || die "the folder $folder can't be written"
code=0
flock --nonblock --conflict-exit-code 3 9 || code=$?  # other codes: a file system without locks
if [ "$code" -eq 3 ]; then
  say "waiting for another jobs/compare.sh in $folder, or for the run that it was killed in"
  flock 9
fi

recipe=$folder/recipe.conf
names=$(IFS='|'; printf '%s' "${chosen_here[*]}|${of_teacher[*]}")
{
  echo "# flags of every run: ${flags[*]}"
  echo "# flags of the runs with a teacher: ${teacher_flags[*]}"
  sed -E "/^[[:space:]]*(${names//-/[-_]})[[:space:]]*=/d" "$given"
} >"$recipe.new"
if [ ! -f "$recipe" ]; then
  mv "$recipe.new" "$recipe"
elif cmp -s "$recipe" "$recipe.new"; then
  rm "$recipe.new"
else
  change=$(diff "$recipe" "$recipe.new" | sed -n '/^[<>]/p' | head -n 2 | tr '\n' ' ' || true)
  rm "$recipe.new"
  die "$folder holds runs of other options ($change): give this comparison another --folder"
fi

runs=()  # a line of flags each
# A teacher that is refused is then reported at once, not after the run without one.
in_turn=()
for arm in "${arms[@]}"; do
  [ "$arm" = none ] || in_turn+=("$arm")
done
[ ${#in_turn[@]} -eq ${#arms[@]} ] || in_turn+=(none)
for seed in "${seeds[@]}"; do  # each arm's first seed first, so that an early table has all arms
  for arm in "${in_turn[@]}"; do
    line="--output-dir $folder/$arm-$seed --seed $seed ${arm_flags[$arm]}"
    [ "$arm" = none ] || line+=" ${teacher_flags[*]}"
    runs+=("$line")
  done
done
if [ "$mode" = submit ]; then
  printf '%s\n' "${runs[@]}" >"$folder/runs.txt"
  exec 9>&-
  exec jobs/submit.sh "--array=0-$((${#runs[@]} - 1))" "${sbatch[@]}" sweep "$folder/runs.txt" "$recipe" "${flags[@]}"
fi

failed=()
for i in "${!runs[@]}"; do
  read -ra of_run <<<"${runs[$i]}"
  run=${of_run[1]}
  [ ! -f "$run/finished.json" ] || continue
  say "run $((i + 1)) of ${#runs[@]}: $run"
  rm -f "$run.failed"
  # In a session of its own: Ctrl-C reaches only this script, which lets the run write a checkpoint.
  setsid bash jobs/train.sbatch "$recipe" "${flags[@]}" "${of_run[@]}" &
  child=$!
  trap 'kill -TERM $child 2>/dev/null || true' INT TERM HUP USR1
  code=0
  wait $child || code=$?
  while kill -0 $child 2>/dev/null; do  # a signal ended wait, not the run
    code=0
    wait $child || code=$?
  done
  trap - INT TERM HUP USR1
  if [ "$code" -eq 85 ] || [ "$code" -ge 128 ]; then
    say "stopped: the same command continues"
    exit "$code"
  elif [ "$code" -ne 0 ]; then
    printf '%d\n' "$code" >"$run.failed"
    failed+=("$run")
  fi
done
results
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
