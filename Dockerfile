# serin's image: the steps of a build, the container of a training job, and the server of an endpoint.
#
#   docker build -t REGION-docker.pkg.dev/PROJECT/serin/serin:TAG .

# The stage whose /image becomes the image. With `context` it comes from the build's context, where
# `.ci/image PROGRAM FOLDER` has laid it out: that needs nothing but BuildKit, and the tests do it.
ARG IMAGE=builder

FROM rust:1.95-slim-bookworm AS builder
WORKDIR /src
COPY . .
RUN cargo build --locked --profile dist && sh .ci/image target/dist/serin /image

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
