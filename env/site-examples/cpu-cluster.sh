# shellcheck shell=bash disable=SC2034  # read by jobs/lib.sh
# Four nodes without GPUs, 16 cores per rank.
site_partition=compute
site_account=
site_time=12:00:00
site_nodes=4
site_ranks_per_node=4
site_gpus_per_node=0
site_cpus_per_rank=16
site_sbatch=()
site_srun=(--mpi=pmix)

site_build=build
site_data=$HOME/packed
site_weights=$HOME/weights
site_runs=$HOME/runs

site_setup() { module load openmpi hdf5 boost; }
