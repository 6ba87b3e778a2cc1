# What the job scripts share: the site, how ranks are started, when a job goes back into the queue. Sourced from the
# repository's folder.
# shellcheck shell=bash disable=SC2154  # site_* come from the site's file
# shellcheck source=jobs/environment.sh
source jobs/environment.sh
site_file=${MASKEDKD_SITE:-env/site.sh}
[ -f "$site_file" ] || { echo "$site_file is no file (MASKEDKD_SITE, seen from $PWD)" >&2; exit 2; }
# shellcheck source=env/site.sh
source "$(realpath "$site_file")"
# shellcheck source=env/paths.sh
source env/paths.sh
site_setup

srun_failed=189
job_id=    # how the cluster calls this job; empty: there is none
restarts=0 # of this job so far

say() { printf '[%s] %s\n' "$(date +%H:%M:%S)" "$*"; }
die() { printf '%s\n' "$*" >&2; exit 2; }

# slurm COMMAND ARGUMENT...: one of Slurm's programs, whose output is the same whatever the user's settings for it are.
slurm() {
  (
    unset "${!SQUEUE_@}" "${!SCONTROL_@}" "${!SINFO_@}" SLURM_TIME_FORMAT SLURM_BITSTR_LEN
    TZ=UTC0 LC_ALL=C command "$@"
  )
}

# sbatch_flags: what the site says of a job, a flag a line.
sbatch_flags() {
  local flags=(${site_partition:+"--partition=$site_partition"} ${site_account:+"--account=$site_account"} \
    ${site_time:+"--time=$site_time"} ${site_nodes:+"--nodes=$site_nodes"} \
    ${site_ranks_per_node:+"--ntasks-per-node=$site_ranks_per_node"} \
    ${site_cpus_per_rank:+"--cpus-per-task=$site_cpus_per_rank"} "${site_sbatch[@]}")
  [ "${site_gpus_per_node:-0}" -eq 0 ] || flags+=("--gpus-per-node=$site_gpus_per_node")
  [ ${#flags[@]} -eq 0 ] || printf '%s\n' "${flags[@]}"
}

# start_ranks PROGRAM ARGUMENT...: in this shell's place, on all ranks of the job, or on this machine's without one.
# srun, as only it passes the cluster's notice on to the ranks at once; mpiexec keeps it for itself.
start_ranks() {
  local program=$site_build/bin/$1
  shift
  [ -x "$program" ] || die "$program is missing: env/install.sh build && env/build.sh $site_build -DMASKEDKD_TESTS=OFF"
  if [ -n "$job_id" ]; then
    # srun's own troubles, as a controller that does not answer, must not look like the program's.
    export SLURM_EXIT_ERROR=${srun_failed} SLURM_EXIT_IMMEDIATE=${srun_failed}
    # Else a job that was submitted with --export=NONE starts ranks without this shell's environment; and Slurm 22.05
    # and 23.02 do not hand sbatch's --cpus-per-task on.
    export SLURM_EXPORT_ENV=ALL ${SLURM_CPUS_PER_TASK:+SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK}
    # A shell that is itself a step of the job (srun --pty bash) holds the cores until it ends.
    if [ -n "${SLURM_STEP_ID:-}" ] && ! is_batch_script; then export SLURM_OVERLAP=1; fi
    exec srun "${site_srun[@]}" --kill-on-bad-exit=1 "$program" "$@"
  else
    exec mpiexec -n $((${site_nodes:-1} * ${site_ranks_per_node:-1})) "$program" "$@"
  fi
}

# export_job_end: when the cluster will end this job, in seconds since 1970, for --time-limit auto.
export_job_end() {
  unset MASKEDKD_JOB_END  # of an earlier start
  local end='' tries
  if [ -n "$job_id" ]; then
    # What Slurm has set in the environment (since 23.02) may be outdated: the limit can be changed, a suspended job ends later.
    local date='^[0-9]+-[0-9]+-[0-9]+T[0-9:]+$'
    for tries in 1 2 3; do  # a job that has only just begun may have none yet
      end=$(slurm squeue --noheader --jobs="$job_id" --format=%e 2>/dev/null) || end=
      if [[ $end =~ $date ]] || [ "$end" = NONE ]; then break; fi
      sleep "$tries"
    done
    if [ "$end" = NONE ]; then  # without a time limit
      end=
      unset SLURM_JOB_END_TIME
    elif [[ $end =~ $date ]]; then
      end=$(date --utc --date="$end" +%s)
      unset SLURM_JOB_END_TIME  # may be another job's
    elif [[ ${SLURM_JOB_END_TIME:-} =~ ^[0-9]+$ ]]; then
      end=$SLURM_JOB_END_TIME
    else
      [ -z "$end" ] || say "Slurm's end of this job is '$end', which is no time: there is no time limit"
      end=
    fi
  fi
  [ -z "$end" ] || export MASKEDKD_JOB_END=$end
}

is_batch_script() { [ "${0##*/}" = slurm_script ]; }  # not what somebody starts in an allocation

# identify_job: sets job_id and restarts, and says to srun how many ranks the job has.
identify_job() {
  job_id=${SLURM_JOB_ID:-}
  [ -n "$job_id" ] || return 0
  unset SLURM_CLUSTERS  # the submitting shell's; this cluster is meant
  # Of an array's last job SLURM_JOB_ID is the number of the array, and what is asked or told by it goes to all its jobs.
  # Variables of arrays and restarts may also be those of another job, in which this one was submitted.
  local element=${SLURM_ARRAY_JOB_ID:-}_${SLURM_ARRAY_TASK_ID:-}
  if [ "$element" != _ ]; then
    case $(slurm scontrol show job --oneliner "$element" 2>&1) in
      "JobId=$SLURM_JOB_ID "*) job_id=$element ;;
      JobId=* | *"Invalid job id"*) ;;
      *) job_id=$element ;;  # nobody answers
    esac
  fi
  local record
  record=$(job_record)
  restarts=$(field_of Restarts "$record")
  restarts=${restarts:-${SLURM_RESTART_COUNT:-0}}
  export SLURM_RESTART_COUNT=$restarts
  [ -n "$layout_is_own" ] || set_layout "$record"
}

# set_layout RECORD: nodes, ranks and cores of a rank, as Slurm has them for this job. Variables of these names may be another
# job's. Memory and GPUs need no variable: without one, srun's ranks have all that the job has.
set_layout() {
  local nodes tasks cpus cores per_node
  tasks=$(field_of NumTasks "$1")
  [[ $tasks =~ ^[1-9][0-9]*$ ]] || return 0
  export SLURM_NTASKS=$tasks SLURM_NPROCS=$tasks
  nodes=$(field_of NumNodes "$1")
  [[ ! $nodes =~ ^[1-9][0-9]*$ ]] || export SLURM_JOB_NUM_NODES=$nodes SLURM_NNODES=$nodes
  per_node=$(field_of NtasksPerN:B:S:C "$1")
  unset SLURM_NTASKS_PER_NODE
  [[ ! $per_node =~ ^([1-9][0-9]*): ]] || export SLURM_NTASKS_PER_NODE=${BASH_REMATCH[1]}
  cpus=$(field_of CPUs/Task "$1")
  # Slurm shows 1 also where nothing was asked for, and a rank may then use all cores of the job.
  [ "$cpus" = "${SLURM_CPUS_PER_TASK:-}" ] || unset SLURM_CPUS_PER_TASK
  [[ $cpus =~ ^[1-9][0-9]*$ ]] || return 0
  [ "$cpus" -eq 1 ] || export SLURM_CPUS_PER_TASK=$cpus
  cores=$(field_of NumCPUs "$1")
  if [[ $cores =~ ^[1-9][0-9]*$ ]] && [ "$cores" -lt $((tasks * cpus)) ]; then export SLURM_OVERCOMMIT=1; fi
}

# job_record: what the cluster knows of this job now, in a line; waits while the controller does not answer.
job_record() {
  local tries
  for tries in $(seq 20); do
    slurm scontrol show job --oneliner "$job_id" 2>/dev/null && break
    sleep "$tries"
  done
}

field_of() { sed -n "1s|.*\b$1=\([^ ]*\).*|\1|p" <<<"$2"; }  # NAME RECORD
job_field() { field_of "$1" "$(job_record)"; }

# may_go_back: whether the cluster leaves it to this job to go back into the queue; says why not.
may_go_back() {
  if [ -z "$job_id" ] || ! is_batch_script; then return 1; fi
  local state
  state=$(job_field JobState)/$(job_field Reason)
  case $state in
    RUNNING/* | */TimeLimit | /) ;;  # /: nobody answers; asking to be put back will show
    CONFIGURING/* | SIGNALING/* | STOPPED/* | RESIZING/*) ;;  # shown instead of RUNNING while that goes on
    # Somebody cancelled it; or it is being preempted, and the cluster puts it back itself.
    *) say "the cluster is ending this job ($state)"; return 1 ;;
  esac
  # Of a later start of this job, an earlier one that was cut off must keep its hands.
  local restarts_now
  restarts_now=$(job_field Restarts)
  [ "${restarts_now:-$restarts}" = "$restarts" ] || { say "this job has been started again already"; return 1; }
}

# what_is_there: changes with what the starts of this job have made so far.
what_is_there() {
  { find "$made_in" -maxdepth 1 -name '[!.]*' -printf '%f\n' 2>/dev/null || true; } | sort | cksum
}

# go_back SECONDS BEFORE: into the queue, to go on, after ranks that lasted SECONDS; BEFORE: what was there as they
# started. Returns where there is nothing to go back to. Exiting instead would end the job for good (slurm.conf's
# RequeueExit apart).
go_back() {
  may_go_back || return 0
  # Ending again and again without having made anything, it would be for ever: the job's comment counts. Preemptions
  # are nobody's fault.
  local in_vain=0 comment
  comment=$(job_field Comment)
  if [ "$(what_is_there)" = "$2" ]; then
    [[ ! $comment =~ ^in-vain:([0-9]+)$ ]] || in_vain=${BASH_REMATCH[1]}
    case $(job_field PreemptTime) in '' | None | N/A | Unknown) in_vain=$((in_vain + 1)) ;; esac
  fi
  if [ "$in_vain" -gt 5 ]; then
    say "$in_vain starts in a row have ended without having made anything: see above, then submit it again"
    return 0
  fi
  if [ "$in_vain" -gt 0 ] || [[ $comment == in-vain:* ]]; then
    slurm scontrol update job="$job_id" comment="in-vain:$in_vain" || true
  fi
  # Not more than a few times a minute, whatever makes it end.
  if [ "$1" -lt 20 ]; then sleep $((5 * in_vain + 2)); fi
  say "back into the queue (restart $((restarts + 1)))"
  local tries
  for tries in $(seq 20); do
    may_go_back || return 0  # cancelled or put back meanwhile
    slurm scontrol requeue "$job_id" && break
    sleep "$tries"
  done
  trap - USR1 TERM
  sleep 120  # until the cluster ends this script
}

# run_job PROGRAM ARGUMENT...: the whole life of a job. Ends the script.
made_in=  # set before: a folder; what is new in it shows that a start was not in vain
run_job() {
  local code=0 began before
  identify_job
  export_job_end
  began=$SECONDS
  before=$(what_is_there)
  # USR1 at the time limit and TERM are the ranks' to act on; this shell waits for them. CONT must not be trapped.
  local interrupted='' step='' again
  trap 'interrupted=1; kill -USR1 "$step" 2>/dev/null || true' USR1 TERM
  start_ranks "$@" &
  step=$!
  wait "$step" || code=$?
  while [ -n "$interrupted" ]; do  # a signal ends wait before the ranks have ended, or as they do
    interrupted=
    again=0
    wait "$step" || again=$?
    [ "$again" -eq 127 ] || code=$again
  done
  # From here on signals are ignored, not trapped: bash 5.2 ends a script with a syntax error where a trap runs while it
  # reads a $(...).
  trap '' USR1 TERM
  case $code in
    0) say "finished" ;;
    85) say "stopped early"; go_back $((SECONDS - began)) "$before" ;;
    93) say "not to be started again: see above" ;;
    *)
      if [ "$code" -ge 128 ] || [ "$code" -lt 0 ]; then  # below 0: bash's, where a signal came as the ranks ended
        if [ "$code" -eq "$srun_failed" ]; then say "srun failed"; else say "killed (code $code)"; fi
        if [ "$1" = maskedkd_evaluate ] && [ -n "$job_id" ] && [ "$(job_field Reason)" = TimeLimit ]; then
          say "an evaluation does not go on where it was: give it a longer --time"
        else
          go_back $((SECONDS - began)) "$before"
        fi
      else
        say "ended with code $code: not to be started again before that is mended"
      fi ;;
  esac
  exit $((code < 0 ? 143 : code))
}

# device_flags [RECIPE] ARGUMENT...: where the site has GPUs a program without one must not train on CPUs silently.
device_flags() {
  if [ "${site_gpus_per_node:-0}" -gt 0 ] && ! gives device "$@"; then printf '%s\n' --device cuda; fi
}

# gives NAME [RECIPE] ARGUMENT...: whether --NAME is given there.
gives() {
  local name=$1 recipe=$2 argument
  shift 2
  for argument in "$@"; do
    case ${argument//_/-} in "--$name" | "--$name="*) return 0 ;; esac
  done
  # No pipe: a reader that has seen enough would end the writer, and that is a failure under pipefail.
  [ -n "$recipe" ] && grep -q "^[[:space:]]*${name//-/[-_]}[[:space:]]*=" "$recipe"
}

# value NAME [RECIPE] ARGUMENT...: the text of --NAME, of the command line or else of the recipe.
value() {
  local name=$1 recipe=$2 found='' key
  shift 2
  if [ -n "$recipe" ]; then
    key=${name//-/[-_]}
    found=$(sed -n "s/^[[:space:]]*${key}[[:space:]]*=[[:space:]]*\([^[:space:]#]*\).*/\1/p" "$recipe")
  fi
  while [ $# -gt 0 ]; do
    case ${1//_/-} in
      "--$name") found=${2:-} ;;
      "--$name="*) found=${1#*=} ;;
    esac
    shift
  done
  printf '%s' "$found"
}

# expanded PATH: with $NAME, ${NAME} and a ~ at the beginning, as the programs expand them on the node.
expanded() {
  local rest=$1 text='' name
  if [[ $rest == \~ || $rest == \~/* ]]; then
    text=$HOME
    rest=${rest:1}
  fi
  while [[ $rest =~ ^([^\$]*)\$(\$|([A-Za-z_][A-Za-z_0-9]*)|\{([A-Za-z_][A-Za-z_0-9]*)\})(.*)$ ]]; do
    name=${BASH_REMATCH[3]}${BASH_REMATCH[4]}
    text+=${BASH_REMATCH[1]}
    rest=${BASH_REMATCH[5]}
    if [ -n "$name" ]; then text+=${!name:-}; else text+='$'; fi
  done
  printf '%s' "$text$rest"
}

# recipe_file NAME: of jobs/recipes, or the file itself.
recipe_file() {
  local file
  for file in "$1" "jobs/recipes/$1.conf"; do
    if [ -f "$file" ]; then printf '%s' "$file"; return; fi
  done
  die "no recipe is called $1; there are: $(cd jobs/recipes && printf '%s ' *.conf | sed 's/\.conf//g')"
}

# slurm_answers COMMAND: fails with a line where Slurm's programs are here, but nobody they could talk to.
slurm_answers() {
  local said tries
  for tries in 1 2 3; do
    if said=$(slurm scontrol ping 2>&1); then return; fi
    sleep $((tries / 2))
  done
  die "Slurm does not answer: $(tail -n 1 <<<"$said"); without Slurm: $*"
}

# train_job DEFAULT_FOLDER [RECIPE] FLAG...: trains. RECIPE: a name of jobs/recipes or a file.
train_job() {
  local folder=$1 recipe=
  shift
  if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    recipe=$(recipe_file "$1")
    shift
    [ -n "$folder" ] || folder=$site_runs/$(basename "$recipe" .conf)
  fi
  local flags=()
  [ -z "$recipe" ] || flags+=(--config "$recipe")
  gives data-path "$recipe" "$@" || flags+=(--data-path "$site_data")
  if ! gives output-dir "$recipe" "$@"; then
    [ -n "$folder" ] || die "name a recipe, or give --output-dir: a run needs a folder of its own"
    flags+=(--output-dir "$folder")
  fi
  made_in=$(expanded "$(value output-dir "$recipe" "${flags[@]}" "$@")")/checkpoints
  local teacher
  teacher=$(value teacher-model "$recipe" "$@")
  [ -z "$teacher" ] || gives teacher-path "$recipe" "$@" || flags+=(--teacher-path "$site_weights/$teacher.safetensors")
  mapfile -t -O ${#flags[@]} flags < <(device_flags "$recipe" "$@")
  run_job maskedkd_train "${flags[@]}" "$@"
}
