# Functions of the job scripts: the site's settings, starting ranks, requeueing. Sourced in the root of the repository.
# shellcheck shell=bash disable=SC2154  # site_* come from the site's file
# shellcheck source=jobs/environment.sh
source jobs/environment.sh
site_file=${MASKEDKD_SITE:-env/site.sh}
[ -f "$site_file" ] || { echo "$site_file is not a file (MASKEDKD_SITE, relative to $PWD)" >&2; exit 2; }
# shellcheck source=env/site.sh
source "$(realpath "$site_file")"
# shellcheck source=env/paths.sh
source env/paths.sh
site_setup

srun_failed=189
job_id=    # of Slurm; empty without Slurm
restarts=0 # of this job so far

say() { printf '[%s] %s\n' "$(date +%H:%M:%S)" "$*"; }
die() { printf '%s\n' "$*" >&2; exit 2; }

# slurm COMMAND ARGUMENT...: runs a program of Slurm with the default output format, whatever the user's settings are.
slurm() {
  (
    unset "${!SQUEUE_@}" "${!SCONTROL_@}" "${!SINFO_@}" SLURM_TIME_FORMAT SLURM_BITSTR_LEN
    TZ=UTC0 LC_ALL=C command "$@"
  )
}

# sbatch_flags: prints the flags of the site's settings, one a line.
sbatch_flags() {
  local flags=(${site_partition:+"--partition=$site_partition"} ${site_account:+"--account=$site_account"} \
    ${site_time:+"--time=$site_time"} ${site_nodes:+"--nodes=$site_nodes"} \
    ${site_ranks_per_node:+"--ntasks-per-node=$site_ranks_per_node"} \
    ${site_cpus_per_rank:+"--cpus-per-task=$site_cpus_per_rank"} "${site_sbatch[@]}")
  [ "${site_gpus_per_node:-0}" -eq 0 ] || flags+=("--gpus-per-node=$site_gpus_per_node")
  [ ${#flags[@]} -eq 0 ] || printf '%s\n' "${flags[@]}"
}

# start_ranks PROGRAM ARGUMENT...: replaces this shell by the job's ranks, or without a job by ranks on this machine.
# Uses srun in a job, because only srun passes the cluster's signals on to the ranks at once.
start_ranks() {
  local program=$site_build/bin/$1
  shift
  [ -x "$program" ] || die "$program is missing: env/install.sh build && env/build.sh $site_build -DMASKEDKD_TESTS=OFF"
  if [ -n "$job_id" ]; then
    # Exit code of srun's own failures, such as a controller that does not answer; it must differ from the program's.
    export SLURM_EXIT_ERROR=${srun_failed} SLURM_EXIT_IMMEDIATE=${srun_failed}
    # Without SLURM_EXPORT_ENV a job submitted with --export=NONE would start ranks without this shell's environment;
    # Slurm 22.05 and 23.02 do not pass sbatch's --cpus-per-task on to srun.
    export SLURM_EXPORT_ENV=ALL ${SLURM_CPUS_PER_TASK:+SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK}
    # A shell that is a step of the job (srun --pty bash) holds the cores until it ends.
    if [ -n "${SLURM_STEP_ID:-}" ] && ! is_batch_script; then export SLURM_OVERLAP=1; fi
    exec srun "${site_srun[@]}" --kill-on-bad-exit=1 "$program" "$@"
  else
    exec mpiexec --quiet -n $((${site_nodes:-1} * ${site_ranks_per_node:-1})) "$program" "$@"
  fi
}

# export_job_end: exports when the cluster will end this job, in seconds since 1970, for --time-limit auto.
export_job_end() {
  unset MASKEDKD_JOB_END  # set by an earlier start
  local end='' tries
  if [ -n "$job_id" ]; then
    # SLURM_JOB_END_TIME (Slurm 23.02 and later) may be outdated: limits can be changed, and suspended jobs end later.
    local date='^[0-9]+-[0-9]+-[0-9]+T[0-9:]+$'
    for tries in 1 2 3; do  # a job that has just started may have no end yet
      end=$(slurm squeue --noheader --jobs="$job_id" --format=%e 2>/dev/null) || end=
      if [[ $end =~ $date ]] || [ "$end" = NONE ]; then break; fi
      sleep "$tries"
    done
    if [ "$end" = NONE ]; then  # the job has no time limit
      end=
      unset SLURM_JOB_END_TIME
    elif [[ $end =~ $date ]]; then
      end=$(date --utc --date="$end" +%s)
      unset SLURM_JOB_END_TIME  # may belong to another job
    elif [[ ${SLURM_JOB_END_TIME:-} =~ ^[0-9]+$ ]]; then
      end=$SLURM_JOB_END_TIME
    else
      [ -z "$end" ] || say "Slurm reports '$end' as the end of this job, not a time: continuing without a time limit"
      end=
    fi
  fi
  [ -z "$end" ] || export MASKEDKD_JOB_END=$end
}

is_batch_script() { [ "${0##*/}" = slurm_script ]; }  # false for a script started by hand in an allocation

# identify_job: sets job_id and restarts, and exports the number of ranks for srun.
identify_job() {
  job_id=${SLURM_JOB_ID:-}
  [ -n "$job_id" ] || return 0
  unset SLURM_CLUSTERS  # set by the submitting shell; queries must go to this cluster
  # SLURM_JOB_ID of the last job of an array is the number of the array, and commands for it affect all jobs of the
  # array. Variables of arrays and restarts may belong to another job, from which this one was submitted.
  local element=${SLURM_ARRAY_JOB_ID:-}_${SLURM_ARRAY_TASK_ID:-}
  if [ "$element" != _ ]; then
    case $(slurm scontrol show job --oneliner "$element" 2>&1) in
      "JobId=$SLURM_JOB_ID "*) job_id=$element ;;
      JobId=* | *"Invalid job id"*) ;;
      *) job_id=$element ;;  # the controller does not answer
    esac
  fi
  local record
  record=$(job_record)
  restarts=$(field_of Restarts "$record")
  restarts=${restarts:-${SLURM_RESTART_COUNT:-0}}
  export SLURM_RESTART_COUNT=$restarts
  [ -n "$environment_is_clean" ] || set_layout "$record"
}

# set_layout RECORD: exports nodes, ranks and cores per rank from Slurm's record, as inherited variables may belong to
# another job. Memory and GPUs need no variable: without one, srun's ranks can use all that the job has.
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
  # Slurm shows 1 also if no number was requested; then a rank may use all cores of the job.
  [ "$cpus" = "${SLURM_CPUS_PER_TASK:-}" ] || unset SLURM_CPUS_PER_TASK
  [[ $cpus =~ ^[1-9][0-9]*$ ]] || return 0
  [ "$cpus" -eq 1 ] || export SLURM_CPUS_PER_TASK=$cpus
  cores=$(field_of NumCPUs "$1")
  if [[ $cores =~ ^[1-9][0-9]*$ ]] && [ "$cores" -lt $((tasks * cpus)) ]; then export SLURM_OVERCOMMIT=1; fi
}

# job_record: prints Slurm's record of this job in one line; retries while the controller does not answer.
job_record() {
  local tries
  for tries in $(seq 20); do
    slurm scontrol show job --oneliner "$job_id" 2>/dev/null && break
    sleep "$tries"
  done
}

field_of() { sed -n "1s|.*\b$1=\([^ ]*\).*|\1|p" <<<"$2"; }  # NAME RECORD
job_field() { field_of "$1" "$(job_record)"; }

# may_requeue: whether this job should requeue itself; logs why not.
may_requeue() {
  if [ -z "$job_id" ] || ! is_batch_script; then return 1; fi
  local state
  state=$(job_field JobState)/$(job_field Reason)
  case $state in
    RUNNING/* | */TimeLimit | /) ;;  # /: the controller does not answer; then the requeue command decides
    CONFIGURING/* | SIGNALING/* | STOPPED/* | RESIZING/*) ;;  # temporary states of a running job
    # The job was cancelled; or it is being preempted, and the cluster requeues it.
    *) say "the cluster is ending this job ($state)"; return 1 ;;
  esac
  # An earlier start that was cut off from the cluster must not requeue a later start of this job.
  local restarts_now
  restarts_now=$(job_field Restarts)
  [ "${restarts_now:-$restarts}" = "$restarts" ] || { say "this job has already been restarted"; return 1; }
}

# result_checksum: prints a checksum of the names of all results; it changes when a start produces a new result.
result_checksum() {
  { find "$results_folder" -maxdepth 1 -name '[!.]*' -printf '%f\n' 2>/dev/null || true; } | sort | cksum
}

# requeue_job SECONDS BEFORE: requeues the job, whose ranks ran for SECONDS; BEFORE: result checksum when they started.
# Returns if the job must not be requeued. Exiting instead of waiting for the requeue would end the job for good (unless
# slurm.conf sets RequeueExit).
requeue_job() {
  may_requeue || return 0
  # The comment of the job, in-vain:N, counts starts in a row without a new result, so that a job that always fails ends.
  # Preempted starts are not counted.
  local without_result=0 comment
  comment=$(job_field Comment)
  if [ "$(result_checksum)" = "$2" ]; then
    [[ ! $comment =~ ^in-vain:([0-9]+)$ ]] || without_result=${BASH_REMATCH[1]}
    case $(job_field PreemptTime) in '' | None | N/A | Unknown) without_result=$((without_result + 1)) ;; esac
  fi
  if [ "$without_result" -gt 5 ]; then
    say "$without_result starts in a row ended without a new result: fix the error above, then submit the job again"
    return 0
  fi
  if [ "$without_result" -gt 0 ] || [[ $comment == in-vain:* ]]; then
    slurm scontrol update job="$job_id" comment="in-vain:$without_result" || true
  fi
  # Limit the rate of requeues to a few per minute.
  if [ "$1" -lt 20 ]; then sleep $((5 * without_result + 2)); fi
  say "requeueing (restart $((restarts + 1)))"
  local tries
  for tries in $(seq 20); do
    may_requeue || return 0  # cancelled or requeued meanwhile
    slurm scontrol requeue "$job_id" && break
    sleep "$tries"
  done
  trap - USR1 TERM
  sleep 120  # until the cluster ends this script
}

# run_job PROGRAM ARGUMENT...: runs the ranks, requeues the job or not, and ends the script.
results_folder=  # set by the caller: the folder in which a start that made progress leaves new files
run_job() {
  local code=0 began before
  identify_job
  export_job_end
  began=$SECONDS
  before=$(result_checksum)
  # The ranks handle USR1 at the time limit and TERM; this shell passes them on and waits. CONT must not be trapped.
  local interrupted='' step='' again
  trap 'interrupted=1; kill -USR1 "$step" 2>/dev/null || true' USR1 TERM
  start_ranks "$@" &
  step=$!
  wait "$step" || code=$?
  while [ -n "$interrupted" ]; do  # a signal interrupts wait, perhaps before the ranks have ended
    interrupted=
    again=0
    wait "$step" || again=$?
    [ "$again" -eq 127 ] || code=$again
  done
  # From here on signals are ignored, not trapped: bash 5.2 exits with a syntax error if a trap runs while it reads a
  # $(...).
  trap '' USR1 TERM
  case $code in
    0) say "finished" ;;
    85) say "stopped early"; requeue_job $((SECONDS - began)) "$before" ;;
    93) say "not restarted: see the error above" ;;
    *)
      if [ "$code" -ge 128 ] || [ "$code" -lt 0 ]; then  # < 0: a signal arrived as the ranks ended
        if [ "$code" -eq "$srun_failed" ]; then say "srun failed"; else say "killed (code $code)"; fi
        if [ "$1" = maskedkd_evaluate ] && [ -n "$job_id" ] && [ "$(job_field Reason)" = TimeLimit ]; then
          say "an evaluation can't be resumed: submit it with a longer --time"
        else
          requeue_job $((SECONDS - began)) "$before"
        fi
      else
        say "ended with code $code: not restarted, fix the error first"
      fi ;;
  esac
  exit $((code < 0 ? 143 : code))
}

# device_flags [RECIPE] ARGUMENT...: prints --device cuda at a site with GPUs, so that a GPU that is missing is an error
# and training does not silently use CPUs.
device_flags() {
  if [ "${site_gpus_per_node:-0}" -gt 0 ] && ! has_flag device "$@"; then printf '%s\n' --device cuda; fi
}

# has_flag NAME [RECIPE] ARGUMENT...: whether --NAME is given in the arguments or the recipe.
has_flag() {
  local name=$1 recipe=$2 argument
  shift 2
  for argument in "$@"; do
    case ${argument//_/-} in "--$name" | "--$name="*) return 0 ;; esac
  done
  # No pipe: grep -q would end the writer early, which is a failure under pipefail.
  [ -n "$recipe" ] && grep -q "^[[:space:]]*${name//-/[-_]}[[:space:]]*=" "$recipe"
}

# flag_value NAME [RECIPE] ARGUMENT...: prints the text of --NAME from the arguments, or else from the recipe.
flag_value() {
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

# expand_path PATH: prints PATH with $NAME, ${NAME} and a leading ~ expanded, as the programs expand them.
expand_path() {
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

# named_file recipe|sweep NAME: prints the path of NAME: a file, or the name of one in jobs/recipes or jobs/sweeps.
named_file() {
  local file suffix=conf
  [ "$1" = recipe ] || suffix=txt
  for file in "$2" "jobs/$1s/$2.$suffix"; do
    if [ -f "$file" ]; then printf '%s' "$file"; return; fi
  done
  die "no $1 is called '$2'; there are: $(cd "jobs/$1s" && printf '%s ' *".$suffix" | sed "s/\.$suffix//g")"
}

# has_slurm: whether this machine belongs to a cluster. Slurm's programs may be installed where none was set up.
has_slurm() {
  command -v salloc >/dev/null || return 1
  case $(slurm scontrol ping 2>&1) in
    *"Could not establish a configuration source"* | *"Unable to process configuration file"*) return 1 ;;
  esac
}

# require_slurm COMMAND: exits with a message if the controller of Slurm does not answer.
require_slurm() {
  local answer tries
  for tries in 1 2 3; do
    if answer=$(slurm scontrol ping 2>&1); then return; fi
    sleep $((tries / 2))
  done
  die "Slurm does not answer: $(tail -n 1 <<<"$answer"); without Slurm, run: $*"
}

# train_job DEFAULT_FOLDER [RECIPE] FLAG...: trains. RECIPE: a name in jobs/recipes or a file.
train_job() {
  local folder=$1 recipe=
  shift
  if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    recipe=$(named_file recipe "$1")
    shift
    [ -n "$folder" ] || folder=$site_runs/$(basename "$recipe" .conf)
  fi
  local flags=()
  [ -z "$recipe" ] || flags+=(--config "$recipe")
  has_flag data-path "$recipe" "$@" || flags+=(--data-path "$site_data")
  if ! has_flag output-dir "$recipe" "$@"; then
    [ -n "$folder" ] || die "name a recipe or give --output-dir: every run needs its own folder"
    flags+=(--output-dir "$folder")
  fi
  results_folder=$(expand_path "$(flag_value output-dir "$recipe" "${flags[@]}" "$@")")/checkpoints
  local teacher
  teacher=$(flag_value teacher-model "$recipe" "$@")
  [ -z "$teacher" ] || has_flag teacher-path "$recipe" "$@" || flags+=(--teacher-path "$site_weights/$teacher.safetensors")
  mapfile -t -O ${#flags[@]} flags < <(device_flags "$recipe" "$@")
  run_job maskedkd_train "${flags[@]}" "$@"
}
