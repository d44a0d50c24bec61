#!/bin/sh
# build.sh TAR [PACKAGE...]: writes the root file system of Debian 12 to TAR.
#
# Everything comes from Debian's archive (mmdebstrap's default mirror). Without PACKAGE the image has python, venv and pip; with
# packages it has those only, `-` for none. Two runs over the same archive state give the same bytes: times are clamped to the
# day of the release, logs and caches are removed, entries are sorted by mmdebstrap.
set -eu
tar=$1; shift
[ $# -gt 0 ] || set -- ca-certificates python3 python3-venv python3-pip python-is-python3
include=$(printf '%s,' "$@" | sed 's/,$//; s/^-$//')
export SOURCE_DATE_EPOCH=1686355200 TZ=UTC LC_ALL=C
mkdir -p "$(dirname "$tar")"
mmdebstrap --quiet --variant=minbase --mode=auto --format=tar ${include:+--include="$include"} \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
  --customize-hook='rm -rf "$1"/var/log/* "$1"/var/cache/ldconfig "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old' \
  --customize-hook='rm -f "$1"/etc/resolv.conf "$1"/etc/hostname; : > "$1"/etc/machine-id' \
  bookworm "$tar.part"
mv "$tar.part" "$tar"
