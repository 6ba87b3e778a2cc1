#!/bin/sh
# Starts a program of a bundle (env/bundle.sh): every name in its folder bin/ is a link to this script. Finds LibTorch
# beside the torch of Python, and Open MPI in the bundle.
here=$(cd "$(dirname "$0")/.." && pwd)
name=$(basename "$0")
if [ -z "${LIBTORCH_ROOT:-}" ]; then
  LIBTORCH_ROOT=$("${MASKEDKD_PYTHON:-python3}" -c \
    'import importlib.util as i; print(i.find_spec("torch").submodule_search_locations[0])' 2>/dev/null) || {
    echo "$name: ${MASKEDKD_PYTHON:-python3} has no torch; set MASKEDKD_PYTHON to one that has, or LIBTORCH_ROOT" >&2
    exit 2
  }
fi
export LIBTORCH_ROOT
version=$(sed -n "s/^__version__ = '\(.*\)'/\1/p" "$LIBTORCH_ROOT/version.py" 2>/dev/null)
if [ -n "$version" ] && [ "$version" != "$(cat "$here/torch-version")" ]; then
  echo "$name: this bundle needs torch $(cat "$here/torch-version"), and $LIBTORCH_ROOT is $version" >&2
  exit 2
fi
libraries=$here/lib:$LIBTORCH_ROOT/lib
for folder in "$LIBTORCH_ROOT"/../nvidia/*/lib; do
  libraries=$libraries:$folder
done
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export OPAL_PREFIX="$here" OPAL_BINDIR="$here/libexec" OPAL_LIBDIR="$here/lib" OPAL_PKGLIBDIR="$here/lib/openmpi" \
  OPAL_PKGDATADIR="$here/share/openmpi" OPAL_SYSCONFDIR="$here/etc" PMIX_INSTALL_PREFIX="$here" \
  PMIX_PREFIX="$here" PMIX_LIBDIR="$here/lib" PMIX_PKGLIBDIR="$here/lib/pmix" PMIX_PKGDATADIR="$here/share/pmix" \
  PMIX_SYSCONFDIR="$here/etc"
# mpiexec starts ranks on this machine alone. A rank that nothing started needs no daemon of Open MPI's.
if [ "$name" = mpiexec ]; then
  export OMPI_MCA_plm=isolated
elif [ -z "${PMIX_RANK:-}${OMPI_COMM_WORLD_SIZE:-}" ]; then
  export OMPI_MCA_ess_singleton_isolated=1
fi
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export OMPI_MCA_rmaps_base_oversubscribe="${OMPI_MCA_rmaps_base_oversubscribe:-1}" \
  OMPI_MCA_hwloc_base_binding_policy="${OMPI_MCA_hwloc_base_binding_policy:-none}"
exec "$here/libexec/$name" "$@"
