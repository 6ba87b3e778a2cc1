# shellcheck shell=bash disable=SC2034  # for those that source it
# Where things lie; sourced by every script, changes nothing. Reads LIBTORCH_ROOT and MASKEDKD_CACHE where they are set.
maskedkd_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MASKEDKD_CACHE=${MASKEDKD_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/maskedkd}
MASKEDKD_VENV=$MASKEDKD_CACHE/venv-$(sha256sum <"$maskedkd_root/env/libtorch.txt" | cut -c1-12)

# libtorch_root: the LibTorch to build against.
libtorch_root() {
  if [ -n "${LIBTORCH_ROOT:-}" ]; then
    printf '%s\n' "$LIBTORCH_ROOT"
  else
    printf '%s\n' "$MASKEDKD_VENV"/lib/python3*/site-packages/torch
  fi
}

# Open MPI refuses root and more ranks than cores unless it is told that both are meant.
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export OMPI_MCA_rmaps_base_oversubscribe=${OMPI_MCA_rmaps_base_oversubscribe:-1}
export OMPI_MCA_hwloc_base_binding_policy=${OMPI_MCA_hwloc_base_binding_policy:-none}
