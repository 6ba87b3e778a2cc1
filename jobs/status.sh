#!/usr/bin/env bash
# Shows the state of runs: of all below the site's folder of runs, or of the named ones.
#
#   jobs/status.sh [--watch SECONDS] [RUN]...
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=jobs/lib.sh
source jobs/lib.sh
help() { sed -n '2,4s/^# \{0,1\}//p' jobs/status.sh; }
watch=
case ${1:-} in
  --watch)
    watch=${2:-}
    [[ $watch =~ ^[1-9][0-9]*$ ]] || die "--watch needs seconds"
    shift 2 ;;
  -h | --help) help; exit ;;
  -*) help >&2; exit 2 ;;
esac

# field NAME: the field of the JSON object in $json, empty if missing. whole NAME: its integer part, 0 if missing.
field() { sed -n "s/.*\"$1\"[[:space:]]*:[[:space:]]*\"\{0,1\}\([^\",}]*\).*/\1/p" <<<"$json" | head -n 1; }
whole() { field "$1" | sed -n 's/^\(-\{0,1\}[0-9]\{1,18\}\).*/\1/p' | grep . || echo 0; }
length() { # SECONDS as text
  if [ "$1" -ge 86400 ]; then printf '%dd %02dh' $(($1 / 86400)) $(($1 % 86400 / 3600))
  elif [ "$1" -ge 3600 ]; then printf '%dh %02dm' $(($1 / 3600)) $(($1 % 3600 / 60))
  else printf '%dm %02ds' $(($1 / 60)) $(($1 % 60)); fi
}

show() {
  local run json now state age saved eta last
  now=$(date +%s)
  printf '%-28s %-11s %19s %9s %8s %9s  %-28s %9s\n' run state step epoch restarts images/s 'last checkpoint' ETA
  for run in "$@"; do
    json=$(tr '\n' ' ' 2>/dev/null <"$run/status.json") || json=
    state=$(field state)
    [ -n "$state" ] || { printf '%-28s no status\n' "${run#"$site_runs"/}"; continue; }
    age=$((now - $(whole time)))
    # The file is written every few seconds; an old one means that the run has died or its file system is unreachable.
    case $state in starting | running | evaluating) [ $age -lt 60 ] || state="silent $(length $age)" ;; esac
    eta=
    if [ "$state" = running ]; then eta=$(length "$(whole eta_s)"); fi
    last=$(field last_checkpoint)
    saved=$(whole last_checkpoint_time)
    [ -z "$last" ] || [ "$saved" -eq 0 ] || last="$last ($(length $((now - saved))))"
    printf '%-28s %-11s %19s %9s %8s %9s  %-28s %9s\n' "${run#"$site_runs"/}" "$state" "$(field step)/$(field steps)" \
      "$(field epoch)/$(field epochs)" "$(field restarts)" "$(field images_per_second)" "$last" "$eta"
  done
}

named=()
for run in "$@"; do  # a folder, or a name below the site's folder of runs
  [ ! -d "$site_runs/$run" ] || run=$site_runs/$run
  # A watched run may still be waiting in the queue.
  [ -d "$run" ] || [ -n "$watch" ] || die "there is no run $run"
  named+=("$run")
done
while :; do
  if [ $# -gt 0 ]; then
    runs=("${named[@]}")
  else
    [ -d "$site_runs" ] || die "there is no folder $site_runs yet"
    mapfile -t runs < <(find -L "$site_runs" -maxdepth 4 -name .lease -prune -o -name status.json -printf '%h\n' | sort)
    [ ${#runs[@]} -gt 0 ] || die "no run below $site_runs has begun yet"
  fi
  [ -z "$watch" ] || [ ! -t 1 ] || clear
  show "${runs[@]}"
  [ -n "$watch" ] || break
  sleep "$watch"
done
