#!/usr/bin/env bash
# Signs a catalogue: sign-catalogue.sh PRIVATE_KEY.pem providers.toml > tollfree-catalogue.toml
set -euo pipefail
key=$1 catalogue=$2
signature=$(mktemp)
trap 'rm -f "$signature"' EXIT
openssl pkeyutl -sign -rawin -inkey "$key" -in "$catalogue" -out "$signature"
printf '# tollfree-catalogue-1 ed25519 %s\n' "$(openssl base64 -A -in "$signature")"
cat "$catalogue"
