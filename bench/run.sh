#!/bin/bash
# Builds the peers and measures them: one table a workload. What follows the script's own words goes to bench.py
# (see --help there), for example
#   ./run.sh --rounds 5 --mode one --only 'farcall-*,tarpc-bincode,go-*'
#   ./run.sh report                    # everything in docs/performance.md, and writes it there
#   ./run.sh --no-build --only 'L2*,tarpc-bincode' --workloads w1b
# Needs cargo, protoc and capnp (Debian: protobuf-compiler, capnproto), and go on PATH for the Go peers.
set -eu
cd "$(dirname "$0")"
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
build=1
if [ "${1:-}" = --no-build ]; then build=0; shift; fi
if [ $build = 1 ]; then
    mkdir -p bin
    cargo build --release
    for p in farcall-peer limits tarpc-peer tonic-peer capnp-peer jsonrpsee-peer volo-peer; do cp "$target/release/$p" bin/; done
    if command -v go >/dev/null; then (cd go-netrpc && GOFLAGS=-mod=mod go build -o ../bin/go-netrpc .); fi
fi
if [ "${1:-}" = report ]; then
    shift
    # The same programs once more, to count what they allocate.
    mkdir -p bin/count
    for p in farcall-peer tarpc-peer tonic-peer capnp-peer jsonrpsee-peer volo-peer; do
        cargo build --release -p "$p" --features benchkit/count
        cp "$target/release/$p" bin/count/
    done
    exec python3 report.py "$@"
fi
exec python3 bench.py "$@"
