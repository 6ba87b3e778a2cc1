# shellcheck shell=bash disable=SC2034  # read by jobs/lib.sh
# The one file to edit: what this cluster is called and where things lie. Every job script reads it; MASKEDKD_SITE names
# another one. Examples: env/site-examples/. Empty: the cluster's default.
site_partition=
site_account=
site_time=               # as sbatch takes it: 24:00:00
site_nodes=1
site_ranks_per_node=2    # one a GPU
site_gpus_per_node=0
site_cpus_per_rank=
site_sbatch=()           # more flags for sbatch and salloc: (--qos=low --constraint=h100)
site_srun=(--mpi=pmix)   # flags of every srun

site_build=build         # programs: $site_build/bin (env/build.sh); paths are seen from the repository's folder
site_data=packed         # --data-path where a recipe or the command line gives none: the sets train and val
site_weights=weights     # teachers: $site_weights/deit3_small.safetensors
site_runs=runs           # a folder a run

site_setup() { :; }      # say: module load cuda/13.0 openmpi/4.1 hdf5 boost
