#!/usr/bin/env bash
# Installs the chart on a real Kubernetes and runs trial.py. The first run builds Kubernetes, which takes at least 20 minutes; later
# runs take about ten. KEEP=1 leaves the cluster running.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/containers/engine.sh
version=1.35.4
export BIN=$cache/kube-$version STATE=$cache/cluster
mkdir -p "$BIN"

[ "$(id -u)" = 0 ] || { echo "test-k8s: two nodes on one machine need root" >&2; exit 1; }
packages docker.io etcd-server containerd containernetworking-plugins conntrack ipset iptables nftables iproute2 openssl
tests/k8s/build.sh $version "$BIN"
cp .tools/bin/kubectl .tools/bin/helm "$BIN/"

finish() {
  local code=$?
  if [ $code != 0 ] && [ -e "$STATE/pki/admin.kubeconfig" ]; then
    echo "---- state of the cluster ----"
    local k="nsenter --net=/run/netns/tf1 $BIN/kubectl --kubeconfig $STATE/pki/admin.kubeconfig --request-timeout=5s -n llm"
    $k get pods -o wide || true
    $k get events --sort-by=.lastTimestamp 2>/dev/null | tail -15 || true
    $k logs -l app.kubernetes.io/component=gateway --tail=15 --prefix 2>/dev/null || true
  fi
  [ -n "${KEEP:-}" ] || tests/k8s/cluster.sh down
  engine_down
  exit $code
}
trap finish EXIT
engine_up
tests/k8s/cluster.sh down # remains of an interrupted run

gateway_image tollfree-test/gateway:trial
base_images redis
for program in coredns pause; do
  image=tollfree-test/coredns user=0
  [ $program = coredns ] || { image=registry.k8s.io/pause:3.10; user=65535; }
  folder=$(mktemp -d)
  cp "$BIN/$program" "$folder/"
  printf 'FROM scratch\nCOPY %s /%s\nUSER %s\nENTRYPOINT ["/%s"]\n' $program $program $user $program > "$folder/Dockerfile"
  build_here $image "$folder"
  rm -rf "$folder"
done

tests/k8s/cluster.sh up registry.k8s.io/pause:3.10 tollfree-test/coredns tollfree-test/redis tollfree-test/gateway:trial
export PATH=$BIN:$PATH KUBECONFIG=$STATE/pki/admin.kubeconfig
inside="nsenter --net=/run/netns/tf1"
disk=$STATE/disk
mkdir -p "$disk" && chown 999:1000 "$disk"
$inside kubectl apply -f tests/k8s/dns.yaml >/dev/null
sed "s#DISK#$disk#" tests/k8s/world.yaml | $inside kubectl apply -f - >/dev/null
$inside kubectl -n kube-system rollout status deployment/coredns --timeout=120s
$inside kubectl -n llm rollout status deployment/providers --timeout=120s
# Validation by the API server before anything is installed. (A dry run of `helm install` does not submit the objects.)
helm template tollfree helm/tollfree -n llm --values tests/k8s/values.yaml --no-hooks | $inside kubectl apply --dry-run=server -f - >/dev/null
$inside .venv/bin/python tests/k8s/trial.py helm/tollfree tests/k8s/values.yaml
