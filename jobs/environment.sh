# Removes variables that belong to other jobs or to MPI launchers. A job inherits the environment of the shell that
# submitted it. If that shell ran in a job or a step, its variables would tell srun how the ranks of another job are
# bound, counted and connected: SLURM_CPU_BIND of an interactive step, for example, binds all ranks of a node to one
# core.
# Sourced by jobs/lib.sh before the site's file, so that what the site exports is kept.
# shellcheck shell=bash disable=SC2034  # environment_is_clean is read by jobs/lib.sh

# unset_launcher_variables: unsets the variables by which MPI launchers pass a process its rank. Parameters that a user
# sets for Open MPI, PMIx and PRRTE (*_MCA_*) are kept, except those that mpiexec sets for its ranks.
unset_launcher_variables() {
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

# unset_variables_of_other_jobs: unsets every variable of Slurm that may belong to another job. Slurm sets the kept ones
# anew for each job. Variables of sbatch's and salloc's flags are not kept, as their origin can't be determined;
# set_layout asks Slurm.
unset_variables_of_other_jobs() {
  local name
  for name in "${!SLURM_@}" "${!SRUN_@}"; do
    case $name in
      SLURM_CONF | SLURM_CONF_SERVER | SLURM_JWT | SLURM_CLUSTERS | SLURM_CLUSTER_NAME) ;;
      SLURM_JOB_CPUS_PER_NODE_PACK_GROUP_*) unset "$name" ;;
      SLURM_JOB_* | SLURM_JOBID | SLURM_NODELIST | SLURM_NNODES | SLURM_TASKS_PER_NODE) ;;
      SLURM_STEP_ID) ;;  # read by start_ranks, ignored by srun
      SLURM_ARRAY_* | SLURM_RESTART_COUNT | SLURM_SUBMIT_DIR | SLURM_SUBMIT_HOST) ;;
      SLURM_NTASKS | SLURM_NTASKS_PER_NODE | SLURM_CPUS_PER_TASK) ;;  # set_layout corrects these
      *) unset "$name" ;;
    esac
  done
}

# unset_slurm_variables: unsets Slurm's variables before a job is submitted, and marks them as unset for the job.
unset_slurm_variables() {
  local name
  for name in "${!SLURM_@}"; do
    case $name in
      SLURM_CONF | SLURM_CONF_SERVER | SLURM_JWT | SLURM_CLUSTERS) ;;
      *) unset "$name" ;;
    esac
  done
  export MASKEDKD_SUBMITTED=1
}

unset_launcher_variables
# jobs/submit.sh and jobs/interactive.sh clean the environment before they submit; then all variables of Slurm are this
# job's.
environment_is_clean=${MASKEDKD_SUBMITTED:-}
[ -n "$environment_is_clean" ] || unset_variables_of_other_jobs
unset MASKEDKD_SUBMITTED
