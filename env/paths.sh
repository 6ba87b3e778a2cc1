# shellcheck shell=bash disable=SC2034  # variables are used by the scripts that source this file
# Paths of the project. Every script sources it. Reads LIBTORCH_ROOT and MASKEDKD_CACHE if they are set.
maskedkd_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MASKEDKD_CACHE=${MASKEDKD_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/maskedkd}
MASKEDKD_VENV=$MASKEDKD_CACHE/venv-$(sha256sum <"$maskedkd_root/env/libtorch.txt" | cut -c1-12)

# libtorch_root: prints the folder of the LibTorch to build against.
libtorch_root() {
  if [ -n "${LIBTORCH_ROOT:-}" ]; then
    printf '%s\n' "$LIBTORCH_ROOT"
  else
    printf '%s\n' "$MASKEDKD_VENV"/lib/python3*/site-packages/torch
  fi
}

# By default Open MPI refuses to run as root or with more ranks than cores.
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export OMPI_MCA_rmaps_base_oversubscribe=${OMPI_MCA_rmaps_base_oversubscribe:-1}
export OMPI_MCA_hwloc_base_binding_policy=${OMPI_MCA_hwloc_base_binding_policy:-none}
