#!/bin/sh
# Installs a released binary after verifying its checksum.
#
#   sh install.sh [VERSION]        e.g. 0.1.0; without it, the newest release
#   TOLLFREE_REPOSITORY=owner/name the repository on GitHub; a released copy of this file knows its own
#   TOLLFREE_DOWNLOADS=URL         the folder of the assets, instead of a release on GitHub
#   INSTALL_DIR=/usr/local/bin     where the binary goes; without it, ~/.local/bin
set -eu

repository=${TOLLFREE_REPOSITORY:-}

fail() { echo "install: $*" >&2; exit 1; }
need() { command -v "$1" >/dev/null 2>&1 || fail "$1 is needed"; }
need curl
need tar

case "$(uname -s)" in
  Linux)
    # A binary for musl runs on every Linux; the one for glibc is faster where glibc is new enough.
    libc=musl
    glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed -n 's/^glibc 2\.\([0-9]*\).*/\1/p') || glibc=""
    if [ -n "$glibc" ] && [ "$glibc" -ge 35 ]; then libc=gnu; fi
    system=unknown-linux-$libc ;;
  Darwin) system=apple-darwin ;;
  *) fail "there is no binary for $(uname -s); build it with cargo" ;;
esac
case "$(uname -m)" in
  x86_64 | amd64) machine=x86_64 ;;
  aarch64 | arm64) machine=aarch64 ;;
  *) fail "there is no binary for $(uname -m); build it with cargo" ;;
esac

version=${1:-}
if [ -n "${TOLLFREE_DOWNLOADS:-}" ]; then
  [ -n "$version" ] || fail "name the version with TOLLFREE_DOWNLOADS: sh install.sh 0.1.0"
  downloads=$TOLLFREE_DOWNLOADS
else
  [ -n "$repository" ] || fail "set TOLLFREE_REPOSITORY to the repository on GitHub, such as owner/tollfree"
  releases=https://github.com/$repository/releases
  if [ -z "$version" ]; then
    version=$(curl --fail --silent --show-error --location --output /dev/null --write-out '%{url_effective}' "$releases/latest")
    version=${version##*/v}
  fi
  downloads=$releases/download/v$version
fi

name=tollfree-$version-$machine-$system
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for file in "$name.tar.gz" SHA256SUMS; do
  curl --fail --silent --show-error --location --output "$file" "$downloads/$file" || fail "$downloads/$file cannot be downloaded"
done
grep " $name.tar.gz\$" SHA256SUMS > expected || fail "SHA256SUMS does not list $name.tar.gz"
if command -v sha256sum >/dev/null 2>&1; then sha256sum -c expected >/dev/null 2>&1; else shasum -a 256 -c expected >/dev/null 2>&1; fi \
  || fail "the checksum of $name.tar.gz is not the one of the release; nothing was installed"
tar -xzf "$name.tar.gz"

target=${INSTALL_DIR:-$HOME/.local/bin}
mkdir -p "$target"
install -m 755 "$name/tollfree" "$target/tollfree"
"$target/tollfree" --version
case ":$PATH:" in
  *":$target:"*) echo "Start it with: tollfree serve --or-demo" ;;
  *) echo "$target is not in PATH. Start it with: $target/tollfree serve --or-demo" ;;
esac
