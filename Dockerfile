# serin's image: the steps of a build, the container of a training job, and the server of an endpoint.
#
#   docker build -t REGION-docker.pkg.dev/PROJECT/serin/serin:TAG .

FROM rust:1.95-slim-bookworm AS builder
WORKDIR /src
COPY . .
RUN cargo build --locked --profile dist && cp target/dist/serin /serin

# The same Debian as the builder's, so the same glibc; CA certificates, time zones, no shell.
FROM gcr.io/distroless/cc-debian12
COPY --from=builder /serin /usr/local/bin/serin
# No USER: Cloud Build's /workspace belongs to root, and a step that is not root cannot write there.
ENTRYPOINT ["/usr/local/bin/serin"]
