#!/usr/bin/env bash
# Writes SHA256SUMS of all assets of a release: checksums.sh FOLDER
# The archives come with checksums of the machines that packed them, which are verified first.
set -euo pipefail
cd "$1"
shopt -s nullglob
for sum in *.sha256; do
  sha256sum --check --quiet "$sum"
  rm "$sum"
done
rm -f SHA256SUMS
sha256sum -- * > SHA256SUMS
