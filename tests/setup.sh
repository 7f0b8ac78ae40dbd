#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: Debian packages, a Python environment, the Node SDK.
# With "bench", also what the benchmark compares with. Does nothing, quickly, where everything is there.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else
    echo "setup: not root and no sudo; install by hand: ${missing[*]}" >&2
    exit 1
  fi
}

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need cc build-essential
need redis-server redis-server
need python3 python3
if [ "${1:-}" = bench ]; then
  PATH=$PATH:/usr/sbin need nginx nginx-light
  need wrk wrk
fi
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: installing ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

for tool in "cargo fmt" "cargo clippy" node npm; do
  $tool --version >/dev/null || { echo "setup: '$tool' is missing (Rust with rustfmt and clippy, and Node 20 or newer, are expected)" >&2; exit 1; }
done

# A stamp beside each environment holds the lock file it was made from.
if ! cmp -s tests/sdk/requirements.txt .venv/made-from; then
  echo "setup: Python environment in .venv"
  rm -rf .venv
  python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement tests/sdk/requirements.txt
  cp tests/sdk/requirements.txt .venv/made-from
fi
if ! cmp -s tests/sdk/package-lock.json tests/sdk/node_modules/made-from; then
  echo "setup: Node SDK in tests/sdk/node_modules"
  (cd tests/sdk && npm ci --silent)
  cp tests/sdk/package-lock.json tests/sdk/node_modules/made-from
fi
