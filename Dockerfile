# The two programs of OrbitStream, one image each:
#
#     docker build --target receiver -t orbitstream-receiver .
#     docker build --target satsim   -t orbitstream-satsim .
#
# compose.yaml builds both. Nothing secret is needed to build and none is in an image: passwords
# come from the environment when a container starts. Needs BuildKit (Docker 23 or newer).

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src
# The whole workspace, because Cargo reads the manifest of every member; .dockerignore lets
# nothing else into the context. The migrations in schema/ are compiled into the receiver.
COPY Cargo.toml Cargo.lock ./
COPY protocol protocol
COPY address address
COPY receiver receiver
COPY satsim satsim
COPY harness harness
COPY schema schema
# The cache mounts keep crates and object files between builds; neither reaches an image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p orbitstream-receiver -p orbitstream-satsim \
    && install -D --target-directory=/out target/release/receiver target/release/satsim

# The same Debian release as the builder's, so the binaries find the glibc they were linked with.
# A number, not a name: it needs no entry in /etc/passwd, and a platform that refuses root can
# see that it is none.
FROM debian:bookworm-slim AS runtime
# The authorities that a hosted database's certificate is checked against.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
# A new volume takes over its owner.
RUN install -d -o 10001 -g 10001 /var/lib/orbitstream
USER 10001:10001

FROM runtime AS satsim
COPY --from=build /out/satsim /usr/local/bin/satsim
ENTRYPOINT ["/usr/local/bin/satsim"]

# The last stage is what a plain `docker build .` makes.
FROM runtime AS receiver
COPY --from=build /out/receiver /usr/local/bin/receiver
EXPOSE 10015/udp 3000/tcp
ENTRYPOINT ["/usr/local/bin/receiver"]
CMD ["run"]
