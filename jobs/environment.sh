# Which variables of the environment belong to this job. A job inherits the environment of the shell that submitted it. Where
# that shell was itself in a job or in a step, its variables would tell srun how another job's ranks are bound, counted
# and connected: SLURM_CPU_BIND of an interactive step, for example, binds all ranks of a node to one core.
# Sourced by jobs/lib.sh before the site's file, so that what the site exports stays.
# shellcheck shell=bash disable=SC2034  # layout_is_own is read by jobs/lib.sh

# forget_launcher: the variables by which MPI launchers tell a process its rank. Parameters that a user sets for Open MPI, PMIx
# and PRRTE (*_MCA_*) stay, except those that mpiexec has set for its own ranks.
forget_launcher() {
  local name launched=${OMPI_COMM_WORLD_SIZE:-}${OMPI_MCA_orte_hnp_uri:-}
  for name in $(compgen -e); do
    case $name in
      OMPI_MCA_orte_app_num | OMPI_MCA_orte_bound_at_launch | OMPI_MCA_orte_ess_* | OMPI_MCA_orte_hnp_uri | \
        OMPI_MCA_orte_jobfam_session_dir | OMPI_MCA_orte_jobid | OMPI_MCA_orte_launch | OMPI_MCA_orte_local_daemon_uri | \
        OMPI_MCA_orte_num_nodes | OMPI_MCA_orte_parent_uri | OMPI_MCA_orte_precondition_transports | \
        OMPI_MCA_orte_top_session_dir | OMPI_MCA_orte_vpid | OMPI_MCA_ess_base_*) unset "$name" ;;
      OMPI_MCA_ess | OMPI_MCA_pmix | OMPI_MCA_plm | OMPI_MCA_initial_wdir | OMPI_MCA_mpi_oversubscribe | \
        OMPI_MCA_orte_tmpdir_base | OMPI_MCA_shmem_RUNTIME_QUERY_hint) [ -z "$launched" ] || unset "$name" ;;
      OMPI_MCA_* | OMPI_ALLOW_RUN_AS_ROOT* | PMIX_MCA_* | PRTE_MCA_* | PRTE_ALLOW_RUN_AS_ROOT*) ;;
      OMPI_* | PMIX_* | PRTE_* | PMI_* | PMI2_* | HYDI_* | MPI_LOCALNRANKS | MPI_LOCALRANKID | MV2_COMM_WORLD_* | \
        MVP_COMM_WORLD_* | FLUX_* | PALS_* | ALPS_* | JSM_*) unset "$name" ;;
    esac
  done
}

# forget_other_jobs: every variable of Slurm's that may be another job's. Slurm sets those that stay anew for each job; what
# sbatch's and salloc's flags ask for is not told by them, as nobody can know whose flags they were (set_layout asks Slurm).
forget_other_jobs() {
  local name
  for name in "${!SLURM_@}" "${!SRUN_@}"; do
    case $name in
      SLURM_CONF | SLURM_CONF_SERVER | SLURM_JWT | SLURM_CLUSTERS | SLURM_CLUSTER_NAME) ;;
      SLURM_JOB_CPUS_PER_NODE_PACK_GROUP_*) unset "$name" ;;
      SLURM_JOB_* | SLURM_JOBID | SLURM_NODELIST | SLURM_NNODES | SLURM_TASKS_PER_NODE) ;;
      SLURM_STEP_ID) ;;  # start_ranks reads it, srun does not
      SLURM_ARRAY_* | SLURM_RESTART_COUNT | SLURM_SUBMIT_DIR | SLURM_SUBMIT_HOST) ;;
      SLURM_NTASKS | SLURM_NTASKS_PER_NODE | SLURM_CPUS_PER_TASK) ;;  # set_layout corrects these
      *) unset "$name" ;;
    esac
  done
}

# forget_this_job: before another one is submitted. It then knows that all it finds of Slurm's was set for it.
forget_this_job() {
  local name
  for name in "${!SLURM_@}"; do
    case $name in
      SLURM_CONF | SLURM_CONF_SERVER | SLURM_JWT | SLURM_CLUSTERS) ;;
      *) unset "$name" ;;
    esac
  done
  export MASKEDKD_SUBMITTED=1
}

forget_launcher
# jobs/submit.sh and jobs/interactive.sh clean the environment before they submit: all that Slurm has set since is this job's.
if [ -z "${MASKEDKD_SUBMITTED:-}" ]; then forget_other_jobs; layout_is_own=''; else layout_is_own=1; fi
unset MASKEDKD_SUBMITTED
