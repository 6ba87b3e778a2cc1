#!/usr/bin/env bash
# Makes a bundle: the programs of a build with every library that they need but LibTorch's, NVIDIA's and the C++
# runtime's. It runs on a Linux that is as new as this one or newer and has Python's torch of the same version, but
# neither MPI nor HDF5 nor a compiler.
#
#   env/bundle.sh BUILD BUNDLE.tar.xz
#
# There:  tar xf BUNDLE.tar.xz
#         maskedkd-bundle/bin/maskedkd_train --help               one rank
#         maskedkd-bundle/bin/mpiexec -n 2 maskedkd-bundle/bin/maskedkd_train ...      ranks of that machine
#         maskedkd-bundle/tests/gpu/run.py                        the tests that need a GPU, if BUILD has tests
# MASKEDKD_PYTHON names the Python whose torch is used (default: python3), LIBTORCH_ROOT another LibTorch.
set -euo pipefail
# shellcheck source=env/paths.sh
source "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
die() { printf '[bundle] %s\n' "$*" >&2; exit 1; }
if [ $# -ne 2 ] || [ "${1#-}" != "$1" ]; then sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2; fi
build=${1%/}
output=$2
[ -x "$build/bin/maskedkd_train" ] || die "$build/bin/maskedkd_train is missing: env/build.sh $build"
cached() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }
torch=$(cached MASKEDKD_LIBTORCH_FOUND_IN)
mpiexec=$(cached MPIEXEC_EXECUTABLE)
version=$(sed -n "s/^__version__ = '\(.*\)'/\1/p" "$torch/version.py" 2>/dev/null) ||
  die "$torch is not the torch of a Python: a bundle needs one of its version where it runs"

staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
root=$staging/maskedkd-bundle
mkdir -p "$root"/{bin,lib/openmpi,lib/pmix,libexec,etc,tests,share}
printf '%s\n' "$version" >"$root/torch-version"

# The C and C++ runtime must be that of the other machine; the driver's libraries belong to its driver.
system='^(linux-vdso|ld-linux.*|libc|libm|libpthread|librt|libdl|libutil|libresolv|libanl|libstdc\+\+|libgcc_s|libcuda|libnvidia-ml)\.so'

# libraries_of FILE...: prints the libraries that the files need and that the bundle must contain, one a line.
libraries_of() {
  local site library
  site=$(realpath "$torch/..")
  LD_LIBRARY_PATH=$torch/lib ldd "$@" 2>/dev/null | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u | while read -r library; do
    if [[ ! ${library##*/} =~ $system && ! $library =~ ^"$torch"/ && ! $(realpath "$library") =~ ^"$site"/ ]]; then
      printf '%s\n' "$library"
    fi
  done
}

# add_libraries FILE...: copies the libraries that the files need.
add_libraries() {
  local library
  libraries_of "$@" | while read -r library; do
    [ -e "$root/lib/$(basename "$library")" ] || cp -L "$library" "$root/lib/"
  done
}

# add_plugins FOLDER DESTINATION: copies the plugins that need no library but those of the bundle: those for fabrics and
# for schedulers stay behind.
add_plugins() {
  local plugin library missing
  for plugin in "$1"/*.so; do
    missing=
    for library in $(readelf --dynamic "$plugin" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
      [[ -e $root/lib/$library || $library =~ $system ]] || missing=$library
    done
    [ -n "$missing" ] || cp -L "$plugin" "$2/"
  done
}

programs=("$build"/bin/maskedkd_*)
# Those labelled gpu, and what they are compared with.
for program in "$build"/tests/{comm_nccl_communicator,kernels_*_on_gpu,train_steps}_test "$build/bench/step_bench"; do
  [ ! -x "$program" ] || programs+=("$program")
done
cp -L "${programs[@]}" "$root/libexec/"
add_libraries "${programs[@]}"

# Open MPI, found again through variables that bundle_launch.sh sets.
plugins=$("$(dirname "$mpiexec")/ompi_info" --parsable --path pkglibdir | sed -n 's/^path:pkglibdir://p' | head -n 1)
cp -L "$mpiexec" "$root/libexec/mpiexec"
add_libraries "$mpiexec" "$plugins"/mca_pmix_ext*.so
add_plugins "$plugins" "$root/lib/openmpi"
pmix=$(libraries_of "$plugins"/mca_pmix_ext*.so | grep libpmix || true)
if [ -n "$pmix" ]; then add_plugins "$(dirname "$(realpath "$pmix")")/pmix" "$root/lib/pmix"; fi
for data in openmpi pmix; do
  [ ! -d /usr/share/$data ] || cp -rL /usr/share/$data "$root/share/$data"
done

strip --strip-unneeded "$root"/libexec/* "$root"/lib/*.so* "$root"/lib/*/*.so 2>/dev/null || true
for program in "$root"/libexec/*; do
  ln -s launch "$root/bin/$(basename "$program")"
done
cp "$maskedkd_root/env/bundle_launch.sh" "$root/bin/launch"
for folder in gpu train bench; do
  mkdir -p "$root/tests/$folder"
done
cp "$maskedkd_root"/tests/gpu/*.py "$root/tests/gpu/"
cp "$maskedkd_root"/tests/train/{reference,step_parts}.py "$root/tests/train/"
cp "$maskedkd_root"/tests/bench/step_bench.py "$root/tests/bench/"

mkdir -p "$(dirname "$output")"
tar -C "$staging" --owner=0 --group=0 -cf - maskedkd-bundle | xz -T0 >"$output.unfinished"
mv "$output.unfinished" "$output"
printf '[bundle] %s: %d MiB, %d MiB unpacked, for torch %s\n' "$output" $(($(stat -c %s "$output") >> 20)) \
  "$(du -sm "$root" | cut -f1)" "$version"
