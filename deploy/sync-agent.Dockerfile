# A static sync-agent on an empty image: one file, no shell, no libc.
#
#   docker build -f deploy/sync-agent.Dockerfile -t sync-agent .
#
# Built from the root of the repository. The C compiler is for ring and zstd.
FROM rust:1-alpine AS build
RUN apk add --no-cache build-base
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p sync-agent && cp target/release/sync-agent /sync-agent

FROM scratch
COPY --from=build /sync-agent /sync-agent
ENTRYPOINT ["/sync-agent"]
CMD ["serve", "--root", "/work", "--listen", "0.0.0.0:4433"]
