#!/usr/bin/env bash
# A Kubernetes cluster of two nodes on this machine: etcd, API server, controllers and scheduler; on each node, which is a network
# namespace, containerd, kubelet and kube-proxy. Nothing listens in the network namespace of the machine.
#
# usage: cluster.sh up IMAGE… | down        needs: $BIN (build.sh's programs and kubectl), $STATE (a folder), $DOCKER_HOST for `up`
#
# Works inside containers as well: cgroup v1, without CAP_SYS_RESOURCE.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
run=/run/tollfree-k8s pki=$STATE/pki
export PATH=$BIN:$PATH KUBECONFIG=$pki/admin.kubeconfig
ip1=10.240.0.1 ip2=10.240.0.2
started=$(date +%s%N)

say() { echo "k8s: $* after $(( ($(date +%s%N) - started) / 1000000 )) ms"; }
on() { local node=$1; shift; nsenter --net="/run/netns/tf$node" "$@"; }
start() { # node name command…; its pid is kept, so that `down` ends exactly this
  local node=$1 name=$2; shift 2
  # Not started by `on`: the pid must be that of the program, not of a shell.
  nsenter --net="/run/netns/tf$node" setsid "$@" > "$STATE/log/$name.log" 2>&1 < /dev/null &
  echo $! > "$STATE/pid/$name"
}
until_ok() { # tenths of a second, command…
  local left=$1; shift
  until "$@" >/dev/null 2>&1; do left=$((left - 1)); [ $left -gt 0 ] || { echo "k8s: in vain: $*" >&2; return 1; }; sleep 0.1; done
}

network() {
  [ -e /run/netns/tf1 ] && return
  ip netns add tf1; ip netns add tf2
  on 1 ip link set lo up; on 2 ip link set lo up
  on 1 ip link add lab0 type bridge; on 1 ip addr add $ip1/24 dev lab0; on 1 ip link set lab0 up
  on 1 ip link add cable1 type veth peer name cable2
  on 1 ip link set cable2 netns tf2; on 1 ip link set cable1 master lab0 up
  on 2 ip addr add $ip2/24 dev cable2; on 2 ip link set cable2 up
  on 1 ip route add default dev lab0; on 2 ip route add default via $ip1
  on 1 ip route add 10.244.1.0/24 via $ip2; on 2 ip route add 10.244.0.0/24 via $ip1
  local node
  for node in 1 2; do
    on $node sysctl -qw net.ipv4.ip_forward=1 || true
    on $node sysctl -qw net.bridge.bridge-nf-call-iptables=1 || true
  done
}

control_plane() {
  start 1 etcd etcd --data-dir "$STATE/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync
  start 1 apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=$ip1 --advertise-address=$ip1 --secure-port=6443 \
    --service-cluster-ip-range=10.96.0.0/16 --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
    --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key" \
    --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP,Hostname \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$pki/sa.pub" \
    --service-account-signing-key-file="$pki/sa.key" --v=1
  until_ok 1200 on 1 kubectl get --raw /readyz
  say "the API server is ready"
  start 1 manager kube-controller-manager --kubeconfig="$pki/manager.kubeconfig" --authentication-kubeconfig="$pki/manager.kubeconfig" \
    --authorization-kubeconfig="$pki/manager.kubeconfig" --bind-address=127.0.0.1 --service-account-private-key-file="$pki/sa.key" \
    --root-ca-file="$pki/ca.crt" --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
    --use-service-account-credentials --leader-elect=false --node-monitor-grace-period=40s
  start 1 scheduler kube-scheduler --kubeconfig="$pki/scheduler.kubeconfig" --authentication-kubeconfig="$pki/scheduler.kubeconfig" \
    --authorization-kubeconfig="$pki/scheduler.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false
  until_ok 600 on 1 kubectl get serviceaccount default
}

node() { # number address images…
  local number=$1 address=$2; shift 2
  local home=$STATE/node$number socket=$run/$number/containerd.sock subnet=10.244.$((number - 1)).0/24 image controller
  mkdir -p "$home"/{cni,kubelet,containerd} "$run/$number"
  for controller in /sys/fs/cgroup/*/; do # a tree of its own on each controller of cgroup v1
    [ -e /sys/fs/cgroup/cgroup.controllers ] && break
    mkdir -p "$controller/tollfree-node$number" 2>/dev/null || true
  done
  # The callers run on the same machine: pods get a higher priority, as if they had their nodes for themselves.
  [ ! -e "/sys/fs/cgroup/cpu/tollfree-node$number/cpu.shares" ] || echo 16384 > "/sys/fs/cgroup/cpu/tollfree-node$number/cpu.shares"
  if [ -e /sys/fs/cgroup/cpuset/cpuset.cpus ]; then
    cat /sys/fs/cgroup/cpuset/cpuset.cpus > "/sys/fs/cgroup/cpuset/tollfree-node$number/cpuset.cpus"
    cat /sys/fs/cgroup/cpuset/cpuset.mems > "/sys/fs/cgroup/cpuset/tollfree-node$number/cpuset.mems"
  fi
  cat > "$home/containerd.toml" <<T
version = 2
root = "$home/containerd"
state = "$run/$number"
[grpc]
address = "$socket"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "registry.k8s.io/pause:3.10"
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$home/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
T
  cat > "$home/cni/10-lab.conflist" <<T
{"cniVersion":"1.0.0","name":"lab","plugins":[
 {"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"hairpinMode":true,
  "ipam":{"type":"host-local","dataDir":"$home/addresses","ranges":[[{"subnet":"$subnet"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}},{"type":"loopback"}]}
T
  cat > "$home/kubelet.yaml" <<T
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $address
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/node$number.crt
tlsPrivateKeyFile: $pki/node$number.key
containerRuntimeEndpoint: unix://$socket
cgroupDriver: cgroupfs
cgroupRoot: /tollfree-node$number
failCgroupV1: false
failSwapOn: false
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
resolvConf: $STATE/resolv.conf
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
imageGCHighThresholdPercent: 100
shutdownGracePeriod: 0s
staticPodPath: ""
healthzBindAddress: 127.0.0.1
T
  cat > "$home/proxy.yaml" <<T
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $pki/proxy.kubeconfig}
mode: iptables
clusterCIDR: 10.244.0.0/16
hostnameOverride: node$number
bindAddress: $address
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
nodePortAddresses: [10.240.0.0/24]
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
T
  start "$number" "containerd$number" containerd -c "$home/containerd.toml"
  until_ok 300 ctr -a "$socket" version
  for image in "$@"; do docker save "$image" | ctr -a "$socket" -n k8s.io images import - >/dev/null; done
  start "$number" "kubelet$number" kubelet --config="$home/kubelet.yaml" --kubeconfig="$pki/node$number.kubeconfig" \
    --hostname-override="node$number" --node-ip="$address" --root-dir="$home/kubelet" --v=2
  start "$number" "proxy$number" kube-proxy --config="$home/proxy.yaml" --v=2
}

up() {
  mkdir -p "$STATE"/{log,pid,etcd} "$run"
  echo "nameserver $ip1" > "$STATE/resolv.conf"
  network
  "$here/certs.sh" "$pki" $ip1
  control_plane
  node 1 $ip1 "$@"
  node 2 $ip2 "$@"
  until_ok 1200 on 1 kubectl wait --for=condition=Ready node/node1 node/node2 --timeout=1s
  say "both nodes are ready"
}

# Pids are reused on a busy machine: a recorded pid is signalled only while it belongs to one of our programs.
end() { # name [signal]
  local pid; pid=$(cat "$STATE/pid/$1" 2>/dev/null) || return 0
  tr '\0' ' ' < "/proc/$pid/cmdline" 2>/dev/null | grep -qE "$STATE|$run|127.0.0.1:2379" && kill "${2:--TERM}" "$pid" 2>/dev/null || true
}

down() {
  local name number controller
  for name in proxy1 proxy2 kubelet1 kubelet2; do end "$name"; done; sleep 1
  for number in 1 2; do
    local c="ctr -a $run/$number/containerd.sock -n k8s.io" id
    [ -e "$run/$number/containerd.sock" ] || continue
    for id in $($c tasks ls -q 2>/dev/null); do $c tasks kill -s 9 "$id" >/dev/null 2>&1 || true; done; sleep 1
    for id in $($c containers ls -q 2>/dev/null); do $c tasks rm -f "$id" >/dev/null 2>&1 || true; $c containers rm "$id" >/dev/null 2>&1 || true; done
  done
  local rest="containerd1 containerd2 scheduler manager apiserver etcd"
  for name in $rest; do end "$name"; done; sleep 1
  for name in $rest proxy1 proxy2 kubelet1 kubelet2; do end "$name" -KILL; done
  awk -v s="$STATE/" -v r="$run/" 'index($2,s)==1 || index($2,r)==1 || index($2,"/run/netns/cni-")==1 {print $2}' /proc/mounts \
    | sort -r | while read -r name; do umount -l "$name" || true; done
  rm -f /run/netns/cni-* || true
  for number in 1 2; do
    ip netns del "tf$number" 2>/dev/null || true
    for controller in /sys/fs/cgroup/*/tollfree-node"$number"; do
      [ -d "$controller" ] && find "$controller" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    done
  done
  rm -rf "${STATE:?}" "$run"
}

command=$1; shift
"$command" "$@"
