# The image contains one program and the libraries it links to: no shell, no package manager.
#
#   docker build -t tollfree .
#   docker run -p 127.0.0.1:3000:3000 -v tollfree:/data -e TOLLFREE_AUTH=open -e GROQ_API_KEY tollfree
#
# Every base image is an argument. FINAL_IMAGE needs a glibc at least as new as that of RUST_IMAGE (debian:bookworm-slim,
# gcr.io/distroless/cc-debian12). With `scratch`, the libraries are copied into the image.
ARG RUST_IMAGE=rust:1-bookworm
ARG NODE_IMAGE=node:22-bookworm-slim
ARG FINAL_IMAGE=scratch

# ---- dashboard --------------------------------------------------------------------------------------------------------------
FROM ${NODE_IMAGE} AS dashboard
WORKDIR /dashboard
COPY dashboard/package.json dashboard/package-lock.json dashboard/.npmrc ./
RUN npm ci
COPY dashboard ./
RUN npm run build

# ---- program ----------------------------------------------------------------------------------------------------------------
FROM ${RUST_IMAGE} AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# Embeds the list of crates in the binary, for `cargo audit bin tollfree` and image scanners.
ARG AUDITABLE_VERSION=0.7.7
# `release`, or `dist` as in published images: some percent faster, and more than twice as long to build.
ARG PROFILE=release
RUN cargo install --locked --root /usr/local "cargo-auditable@${AUDITABLE_VERSION}"
WORKDIR /tollfree
# Build dependencies first, so that their layer is reused until the lock file changes.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
RUN mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
    && cargo auditable build --locked --profile "${PROFILE}" --bin tollfree
COPY lua lua
COPY src src
COPY --from=dashboard /dashboard/dist dashboard/dist
RUN touch src/main.rs src/lib.rs && cargo auditable build --locked --profile "${PROFILE}" --bin tollfree
ARG FINAL_IMAGE
RUN mkdir -p /out/usr/local/bin /out/etc/tollfree /out/tmp /data \
    && chmod 1777 /out/tmp \
    && cp "target/${PROFILE}/tollfree" /out/usr/local/bin/ \
    && if [ "${FINAL_IMAGE}" = scratch ]; then \
         ldd "target/${PROFILE}/tollfree" | grep -o '/[^ ]*' | xargs -I{} cp --parents --dereference {} /out; \
         echo 'tollfree:x:65532:65532::/data:/sbin/nologin' > /out/etc/passwd; \
         echo 'tollfree:x:65532:' > /out/etc/group; \
         echo 'hosts: files dns' > /out/etc/nsswitch.conf; \
       fi

# ---- final image -----------------------------------------------------------------------------------------------------------
# hadolint ignore=DL3006
FROM ${FINAL_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tollfree" \
      org.opencontainers.image.description="One OpenAI-compatible endpoint over every free LLM tier, on one exact budget shared by any number of replicas" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/ /
# State of a gateway without Redis. With Redis only recordings are written, to /tmp; the rest may be read-only.
COPY --from=build --chown=65532:65532 /data /data
ENV HOST=0.0.0.0 PORT=3000 TOLLFREE_DATA_DIR=/data
# The directory in which `tollfree.toml` is looked up.
WORKDIR /etc/tollfree
USER 65532:65532
EXPOSE 3000
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["/usr/local/bin/tollfree", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/tollfree"]
CMD ["serve"]
