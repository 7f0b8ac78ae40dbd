#!/usr/bin/env bash
# Certificates and kubeconfigs of one throw-away cluster. usage: certs.sh FOLDER ADDRESS-OF-NODE1
set -euo pipefail
folder=$1 address=$2
mkdir -p "$folder"
cd "$folder"
[ ! -e admin.kubeconfig ] || exit 0

new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)

authority() { # name
  openssl req -x509 "${new_key[@]}" -keyout "$1.key" -out "$1.crt" -days 365 -subj "/CN=$1" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
}

leaf() { # name authority subject [alternative names]
  openssl req "${new_key[@]}" -keyout "$1.key" -out "$1.csr" -subj "$3" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days 365 -out "$1.crt" \
    -extfile <(printf 'extendedKeyUsage=serverAuth,clientAuth\n%s' "${4:+subjectAltName=$4}") 2>/dev/null
  rm "$1.csr"
}

config() { # name subject [alternative names]
  leaf "$1" ca "$2" "${3:-}"
  cat > "$1.kubeconfig" <<K
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://$address:6443", certificate-authority: $folder/ca.crt}}]
users: [{name: u, user: {client-certificate: $folder/$1.crt, client-key: $folder/$1.key}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
K
}

authority ca
authority front-proxy-ca
names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost
leaf apiserver ca /CN=kube-apiserver "$names,IP:127.0.0.1,IP:10.96.0.1,IP:$address"
leaf kubelet-client ca /O=system:masters/CN=apiserver-kubelet-client
leaf front-proxy-client front-proxy-ca /CN=front-proxy-client
openssl genrsa -out sa.key 2048 2>/dev/null
openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
config manager /CN=system:kube-controller-manager
config scheduler /CN=system:kube-scheduler
config proxy /CN=system:kube-proxy
config node1 /O=system:nodes/CN=system:node:node1 "DNS:node1,IP:$address,IP:127.0.0.1"
config node2 /O=system:nodes/CN=system:node:node2 "DNS:node2,IP:10.240.0.2,IP:127.0.0.1"
config admin /O=system:masters/CN=admin
