# shellcheck shell=bash disable=SC2034  # read by jobs/lib.sh
# The settings of this cluster, the only file to edit. Every job script reads it; MASKEDKD_SITE names another file.
# Examples: env/site-examples/. An empty setting leaves the cluster's default.
site_partition=
site_account=
site_time=               # in the format of sbatch: 24:00:00
site_nodes=1
site_ranks_per_node=2    # one per GPU
site_gpus_per_node=0
site_cpus_per_rank=
site_sbatch=()           # more flags for sbatch and salloc: (--qos=low --constraint=h100)
site_srun=(--mpi=pmix)   # flags of every srun

site_build=build         # build folder of env/build.sh; paths are relative to the root of the repository
site_data=packed         # default of --data-path: the folder of the sets train and val
site_weights=weights     # folder of the teachers, such as deit3_small.safetensors
site_runs=runs           # folder in which each run has a folder

site_setup() { :; }      # for example: module load cuda/13.0 openmpi/4.1 hdf5 boost
