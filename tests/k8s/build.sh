#!/usr/bin/env bash
# Builds one Kubernetes release from its published Go modules, and a small DNS server. Takes about 20 minutes; the result is kept
# by version outside the tree. usage: build.sh VERSION FOLDER
# k8s.io/kubernetes points its staging modules at ./staging; here each is replaced by the same release of the published one.
# (Not every patch release has one for each: 1.35.4 and 1.36.3 do.)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=$1 bin=$2
commands="kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy"
missing=""
for name in $commands coredns pause; do [ -x "$bin/$name" ] || missing="$missing $name"; done
[ -n "$missing" ] || exit 0

echo "k8s: building Kubernetes $version once, into $bin (about 20 minutes)"
source=$bin/source
mkdir -p "$source/dns"
cd "$source"
if [ ! -e go.sum ]; then
  printf 'module test/kube\n\ngo 1.26\n\ngodebug default=go1.25\n' > go.mod
  go mod download "k8s.io/kubernetes@v$version"
  go mod edit -require "k8s.io/kubernetes@v$version"
  upstream=$(go env GOMODCACHE)/k8s.io/kubernetes@v$version/go.mod
  sed -n '/^replace/,/^)/p' "$upstream" | awk '/=> .\/staging/{print $1}' | while read -r module; do
    go mod edit -replace "$module=$module@v0.${version#1.}"
  done
fi
# Without a version stamp the server reports v0.0.0-master, which charts reject.
stamp="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  minor=$(echo "$version" | cut -d. -f2)
  stamp="$stamp -X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=$minor"
  stamp="$stamp -X $package.gitTreeState=clean -X $package.gitCommit=unknown -X $package.buildDate=2026-01-01T00:00:00Z"
done
export CGO_ENABLED=0
build() { # what to call it, its package
  local start; start=$(date +%s)
  nice -n 19 go build -p "${JOBS:-1}" -mod=mod -trimpath -ldflags "$stamp" -o "$bin/$1.part" "$2"
  mv "$bin/$1.part" "$bin/$1"
  echo "k8s: $1 in $(( $(date +%s) - start )) s"
}
for name in $missing; do
  case $name in
  pause) gcc -O2 -static -o "$bin/pause" "$here/pause/pause.c" ;;
  coredns) # in a copy of the same module: its client-go is compiled already
    cp go.mod go.sum "$here/dns/main.go" dns/
    cd dns
    go mod edit -module test/dns -require github.com/coredns/coredns@v1.12.4
    build coredns .
    cd .. ;;
  *) build "$name" "k8s.io/kubernetes/cmd/$name" ;;
  esac
done
