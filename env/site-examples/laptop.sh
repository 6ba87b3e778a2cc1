# shellcheck shell=bash disable=SC2034  # read by jobs/lib.sh
# No Slurm: `bash jobs/train.sbatch ...` and jobs/interactive.sh start the ranks with mpiexec.
site_partition=
site_account=
site_time=
site_nodes=1
site_ranks_per_node=2
site_gpus_per_node=0
site_cpus_per_rank=
site_sbatch=()
site_srun=()

site_build=build
site_data=packed
site_weights=weights
site_runs=runs

site_setup() { :; }
