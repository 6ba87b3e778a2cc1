# shellcheck shell=bash disable=SC2034  # read by jobs/lib.sh
# Two nodes of eight GPUs in a preemptible partition.
site_partition=preemptible
site_account=vision
site_time=24:00:00
site_nodes=2
site_ranks_per_node=8
site_gpus_per_node=8
site_cpus_per_rank=16
site_sbatch=()
site_srun=(--mpi=pmix)

site_build=build
site_data=/lustre/vision/imagenet-packed
site_weights=/lustre/vision/weights
site_runs=/lustre/vision/runs

site_setup() { module load cuda/13.0 openmpi/4.1 hdf5 boost; }
