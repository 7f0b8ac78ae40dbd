# shellcheck shell=bash
# Sourced by the tests that need containers: provides a container engine and base images. A running engine is used; otherwise one is
# started with its data in the cache, and `engine_down` stops it.
cache=${TOLLFREE_TEST_CACHE:-$HOME/.cache/tollfree-tests}
mkdir -p "$cache"
engine_pid=""

# Fails with a message if a package is missing and cannot be installed.
packages() { # package names; installs what is missing
  local missing=() name
  for name in "$@"; do dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "tests: installing ${missing[*]}"
  local root=""; [ "$(id -u)" = 0 ] || root=sudo
  $root apt-get update -qq
  $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

engine_up() {
  export DOCKER_BUILDKIT=0 # the builder that every engine has
  if docker info >/dev/null 2>&1; then return; fi
  [ "$(id -u)" = 0 ] || { echo "tests: no container engine runs here, and only root can start one" >&2; exit 1; }
  packages docker.io
  local state=/run/tollfree-tests-engine
  mkdir -p "$state"
  export DOCKER_HOST=unix://$state/docker.sock
  if docker info >/dev/null 2>&1; then return; fi
  setsid dockerd --host "$DOCKER_HOST" --data-root "$cache/engine" --exec-root "$state" --pidfile "$state/pid" \
    --containerd-namespace tollfree-tests > "$cache/engine.log" 2>&1 < /dev/null &
  engine_pid=$!
  for _ in $(seq 150); do docker info >/dev/null 2>&1 && return; sleep 0.2; done
  echo "tests: the container engine does not start:" >&2; tail -20 "$cache/engine.log" >&2; exit 1
}

engine_down() {
  [ -n "$engine_pid" ] || return 0
  kill "$engine_pid" 2>/dev/null || true
  wait "$engine_pid" 2>/dev/null || true
}

have() { docker image inspect "$1" >/dev/null 2>&1; }

build_here() { # image, build folder
  docker build --quiet --tag "$1" "$2" >/dev/null
}

# Base images built on this machine, so that nothing has to be pulled. They differ from the upstream images and have other names.
base_images() { # debian rust node redis haproxy
  local name
  for name in "$@"; do
    local image=tollfree-test/$name
    have "$image" && continue
    echo "tests: making $image"
    local folder; folder=$(mktemp -d)
    base_"$name" "$folder"
    rm -rf "$folder"
  done
}

base_debian() {
  packages debootstrap
  nice -n 10 debootstrap --variant=minbase --include=ca-certificates bookworm "$1/base" >/dev/null
  rm -rf "$1"/base/var/cache/apt/archives/*.deb "$1"/base/var/lib/apt/lists/*
  cp /etc/ssl/certs/ca-certificates.crt "$1/base/etc/ssl/certs/" # what this machine trusts, for its way to the registries
  tar -C "$1/base" -c . | docker import --change 'CMD ["bash"]' - tollfree-test/debian >/dev/null
}

base_rust() { # a C compiler and this machine's toolchain
  base_images debian
  cp -a "$(rustc --print sysroot)" "$1/toolchain"
  rm -rf "$1/toolchain/share/doc" "$1/toolchain/lib/rustlib/src"
  cat > "$1/Dockerfile" <<'D'
FROM tollfree-test/debian
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
COPY toolchain /usr/local/rust
ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=/usr/local/cargo
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
D
  build_here tollfree-test/rust "$1"
}

base_node() { # this machine's Node
  base_images debian
  mkdir -p "$1/node/bin" "$1/node/lib/node_modules"
  cp -L "$(command -v node)" "$1/node/bin/node"
  cp -a "$(npm root --global)/npm" "$1/node/lib/node_modules/npm"
  cat > "$1/Dockerfile" <<'D'
FROM tollfree-test/debian
COPY node /usr/local
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
D
  build_here tollfree-test/node "$1"
}

base_redis() { # Debian's, with the ids of the upstream image
  base_images debian
  cat > "$1/Dockerfile" <<'D'
FROM tollfree-test/debian
RUN groupadd --gid 1000 redis && useradd --uid 999 --gid 1000 redis && apt-get update \
    && apt-get install -y --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /data && chown 999:1000 /data
WORKDIR /data
CMD ["redis-server"]
D
  build_here tollfree-test/redis "$1"
}

base_haproxy() {
  base_images debian
  cat > "$1/Dockerfile" <<'D'
FROM tollfree-test/debian
RUN apt-get update && apt-get install -y --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/*
USER haproxy
D
  build_here tollfree-test/haproxy "$1"
}

# The image of this checkout.
gateway_image() { # its name
  base_images rust node
  nice -n 10 docker build --quiet --tag "$1" \
    --build-arg RUST_IMAGE=tollfree-test/rust --build-arg NODE_IMAGE=tollfree-test/node . >/dev/null
}

# The OpenTelemetry Collector, built once from its published Go modules (five minutes) and kept outside the tree.
base_otelcol() {
  local version=0.155.0 kept=$cache/otelcol-0.155.0
  if [ ! -x "$kept/otelcol" ]; then
    echo "tests: building the OpenTelemetry Collector $version once (about five minutes)"
    mkdir -p "$kept/source"
    sed "s#OUTPUT#$kept/source#" tests/compose/collector.yaml > "$kept/builder.yaml"
    (cd "$kept" && nice -n 10 go run "go.opentelemetry.io/collector/cmd/builder@v$version" --config builder.yaml --skip-compilation 2> builder.log)
    (cd "$kept/source" && CGO_ENABLED=0 nice -n 10 go build -p "${JOBS:-1}" -mod=mod -trimpath -ldflags '-s -w' -o ../otelcol .)
  fi
  cp "$kept/otelcol" "$1/"
  printf 'FROM scratch\nCOPY otelcol /otelcol\nUSER 10001:10001\nENTRYPOINT ["/otelcol"]\n' > "$1/Dockerfile"
  build_here tollfree-test/otelcol "$1"
}
