#!/bin/bash
# verify.sh [--stand-in CPU_REF [CUDA_REF]]: builds every base image of this folder and checks what kiln needs of a base.
#
# Without options the real images are used: each source that can't be reached is named at the end as not run, and that is not a
# failure. With --stand-in the Dockerfiles are built on the given images instead, which exercises their steps, not their sources.
# DOCKER names the client (default: docker). Exit status: 0 all that could run passed, 1 a check failed, 2 nothing could run.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
docker=${DOCKER:-docker}
stand_in_cpu='' stand_in_cuda=''
if [ "${1:-}" = --stand-in ]; then stand_in_cpu=$2; stand_in_cuda=${3:-}; fi
passed=() failed=() not_run=()

# in_image IMAGE COMMAND: runs a shell command in the image without its entry point.
in_image() { "$docker" run --rm --network none --entrypoint /bin/bash "$1" -c "$2"; }

# check NAME IMAGE: root, bash, CA certificates, ldconfig with and without CUDA's stubs folder, glibc and OS release.
check() {
  in_image "$2" '
    set -eu
    [ "$(id -u)" = 0 ]
    [ -s /etc/ssl/certs/ca-certificates.crt ]
    ldconfig
    dpkg --version >/dev/null
    . /etc/os-release
    echo "  $PRETTY_NAME, $(ldd --version | head -1), python: $(command -v python3 || echo none)"' || return 1
}

# check_cuda IMAGE: the facts kiln reads from a CUDA base.
check_cuda() {
  in_image "$1" '
    set -eu
    : "$NVIDIA_REQUIRE_CUDA" "$NVIDIA_VISIBLE_DEVICES" "$NVIDIA_DRIVER_CAPABILITIES" "$LD_LIBRARY_PATH"
    echo "  CUDA $CUDA_VERSION"'
}

# build NAME FOLDER BASE [ARG...]: builds one folder on one base.
build() {
  local name=$1 folder=$2 base=$3; shift 3
  if ! "$docker" pull -q "$base" >/dev/null 2>&1; then not_run+=("$name: $base can't be reached"); return; fi
  echo "$name on $base"
  local image=kiln-verify/$name
  if "$docker" build -q -t "$image" --build-arg BASE="$base" "$@" "$here/$folder" >/dev/null && check "$name" "$image" \
    && { [[ $name != *cuda* ]] || check_cuda "$image"; } \
    && { [[ $name != *python* ]] || in_image "$image" 'python3 -m venv /tmp/v && /tmp/v/bin/python -c "import ssl"'; }
  then passed+=("$name"); else failed+=("$name"); fi
  "$docker" rmi "$image" >/dev/null 2>&1
}

default_base() { sed -n 's/^ARG BASE=//p' "$here/$1/Dockerfile"; }

for folder in ubuntu-22.04-cpu ubuntu-24.04-cpu ubuntu-22.04-cuda; do
  base=$(default_base "$folder")
  if [ -n "$stand_in_cpu" ]; then
    base=$stand_in_cpu
    if [[ $folder == *cuda* ]]; then base=$stand_in_cuda; fi
    [ -n "$base" ] || { not_run+=("$folder: no stand-in given"); continue; }
  fi
  build "$folder" "$folder" "$base"
done
base=${stand_in_cpu:-$(default_base ubuntu-22.04-cpu)}
build ubuntu-22.04-cpu-python ubuntu-22.04-cpu "$base" --build-arg WITH_PYTHON=yes

# Debian's own is built here from its archive, unless a stand-in (which is that image) was given.
if [ -z "$stand_in_cpu" ]; then
  if command -v mmdebstrap >/dev/null; then
    work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
    if "$here/debian-cpu/build.sh" "$work/rootfs.tar" \
      && "$docker" import "$work/rootfs.tar" kiln-verify/debian-cpu >/dev/null
    then
      echo "debian-cpu from Debian's archive"
      if check debian-cpu kiln-verify/debian-cpu; then passed+=(debian-cpu); else failed+=(debian-cpu); fi
      "$docker" rmi kiln-verify/debian-cpu >/dev/null 2>&1
    else failed+=(debian-cpu); fi
  else not_run+=("debian-cpu: mmdebstrap is not installed"); fi
fi

printf 'passed: %s\n' "${passed[*]:-none}"
printf 'failed: %s\n' "${failed[*]:-none}"
for line in "${not_run[@]:-none}"; do printf 'not run: %s\n' "$line"; done
[ ${#failed[@]} = 0 ] || exit 1
[ ${#passed[@]} -gt 0 ] || exit 2
