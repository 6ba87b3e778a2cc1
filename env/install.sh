#!/usr/bin/env bash
# Installs what building, running and testing need; a second call changes nothing and ends at once.
#
#   env/install.sh [build|tests|data]...     default: build
#
#   build   the Debian/Ubuntu packages of apt.txt and LibTorch (the pinned wheel, with what converts .pth files), unless
#           LIBTORCH_ROOT names another LibTorch
#   tests   build, the packages of apt-tests.txt and the Python references of reference.txt
#   data    the Fashion-MNIST images that jobs/quickstart.sh trains on
#
# LibTorch is installed in ${MASKEDKD_CACHE:-${XDG_CACHE_HOME:-~/.cache}/maskedkd}, keyed by a hash of the pinned list,
# and shared by all clones of a user. Needs root or sudo only if a package is missing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=env/paths.sh
source "$here/paths.sh"

say() { printf '[install] %s\n' "$*"; }
die() { printf '[install] %s\n' "$*" >&2; exit 1; }
entries() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$1"; }

# known NAME...: prints the names that apt finds; fails if it finds none.
known() {
  local package found=1
  for package in "$@"; do
    if apt-cache show "$package" >/dev/null 2>&1; then
      printf '%s\n' "$package"
      found=0
    fi
  done
  return $found
}

# install_packages NAME...: installs the packages; a NAME? is skipped where the system has no package of that name.
install_packages() {
  local missing=() optional=() package
  for package in "$@"; do
    if [ "$(dpkg-query -W -f='${db:Status-Status}' "${package%\?}" 2>/dev/null)" = installed ]; then
      continue
    elif [ "$package" = "${package%\?}" ]; then
      missing+=("$package")
    else
      optional+=("${package%\?}")
    fi
  done
  [ ${#missing[@]} -gt 0 ] || known "${optional[@]}" >/dev/null || return 0
  command -v apt-get >/dev/null || die "apt-get is missing: install these packages by hand, under your system's names: ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "neither root nor sudo: ask an administrator to run: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update
  mapfile -t -O ${#missing[@]} missing < <(known "${optional[@]}")
  say "installing packages: ${missing[*]}"
  "${apt[@]}" install --no-install-recommends -y "${missing[@]}" >/dev/null ||
    die "apt-get could not install: ${missing[*]}"
}

# install_wheels LIST: installs a list into the virtual environment, once; a stamp is written when it is complete.
install_wheels() {
  local list=$1 stamp
  stamp="$MASKEDKD_VENV/.installed-$(basename "$list" .txt)-$(sha256sum <"$list" | cut -c1-12)"
  [ ! -e "$stamp" ] || return 0
  say "installing $(entries "$list" | tr '\n' ' ')into $MASKEDKD_VENV"
  [ -x "$MASKEDKD_VENV/bin/pip" ] || python3 -m venv --clear "$MASKEDKD_VENV"
  "$MASKEDKD_VENV/bin/pip" install --quiet --disable-pip-version-check --no-input -r "$list"
  touch "$stamp"
}

[ $# -gt 0 ] || set -- build
packages=() wheels=()
for part in "$@"; do
  case $part in
    build | tests)
      mapfile -t -O ${#packages[@]} packages < <(entries "$here/apt.txt")
      [ -n "${LIBTORCH_ROOT:-}" ] || wheels+=("$here/libtorch.txt" "$here/weights.txt")
      [ "$part" = build ] || {
        mapfile -t -O ${#packages[@]} packages < <(entries "$here/apt-tests.txt")
        wheels+=("$here/reference.txt")
      } ;;
    data) packages+=(dataset-fashion-mnist) ;;
    *) die "unknown part '$part': choose from build, tests, data" ;;
  esac
done
install_packages "${packages[@]}"
if [ ${#wheels[@]} -gt 0 ]; then
  mkdir -p "$MASKEDKD_CACHE"
  exec 9>"$MASKEDKD_CACHE/install.lock"
  flock 9
  for list in "${wheels[@]}"; do install_wheels "$list"; done
fi
