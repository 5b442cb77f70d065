# serin's image: the steps of a build, the container of a training job, and the server of an endpoint.
#
#   docker build -t REGION-docker.pkg.dev/PROJECT/serin/serin:TAG .
#
# Both of docker's builders take it. What is sent to them stands in .dockerignore.

# The stage whose /image becomes the image. With `context` it comes from the build's context, where
# `.ci/image PROGRAM FOLDER` has laid it out: that needs nothing but BuildKit, and the tests do it.
ARG IMAGE=builder
# Rust and a C compiler.
ARG RUST=rust:1.95-slim-bookworm
ARG PROFILE=dist

# The crates that serin is built from. They are built again only when Cargo.lock or Cargo.toml changes,
# for an empty program in serin's place.
FROM ${RUST} AS dependencies
ARG PROFILE
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY tests tests
COPY benches benches
RUN mkdir src && touch src/lib.rs && echo 'fn main() {}' >src/main.rs && \
    cargo build --locked --profile ${PROFILE}

FROM dependencies AS builder
ARG PROFILE
COPY . .
# Files come with the times that they have, which may lie before the empty program's.
RUN touch src/lib.rs src/main.rs && cargo build --locked --profile ${PROFILE} && \
    sh .ci/image target/*/serin /image

FROM scratch AS context
COPY . /

FROM ${IMAGE} AS laid-out

# Nothing but serin, the libraries that it was linked against, and CA certificates: no base image to
# keep up to date beside the builder's, no shell. Linked to glibc as in every test, not statically: a
# static glibc resolves names by other code than the one that is tested.
FROM scratch
COPY --from=laid-out /image /
# No USER: Cloud Build's /workspace belongs to root, and a step that is not root cannot write there.
ENTRYPOINT ["/usr/local/bin/serin"]
