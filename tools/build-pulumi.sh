#!/usr/bin/env bash
# Build the stock Pulumi CLI from its Go module, pinned by tools/go/pulumi/go.mod, and print its folder.
# The binary is cached by the hash of go.mod and go.sum; about 11 minutes cold on 2 cores, nothing when cached.
set -euo pipefail
here=$(cd "$(dirname "$0")/go/pulumi" && pwd)
version=$(awk '$1 == "github.com/pulumi/pulumi/pkg/v3" { print $2 }' "$here/go.mod")
key=$(cat "$here/go.mod" "$here/go.sum" | sha256sum | cut -c1-16)
bin=${FLEETC_TOOLS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fleetc/tools}/pulumi-$key
if [ "${1:-}" = --where ]; then echo "$bin"; exit 0; fi
if [ ! -x "$bin/pulumi" ]; then
  command -v go >/dev/null || { echo "build-pulumi: Go 1.26 or newer is needed to build the Pulumi CLI (https://go.dev/dl)" >&2; exit 1; }
  echo "build-pulumi: building Pulumi $version (about 11 minutes when nothing is cached)" >&2
  mkdir -p "$bin"
  partial=$(mktemp -d "$bin/partial.XXXXXX")
  (cd "$here" && CGO_ENABLED=0 GOFLAGS=-mod=readonly GOBIN=$partial go install -trimpath -tags=osusergo,grpcnotrace \
    -ldflags="-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=$version" tool)
  mv "$partial/pulumi" "$bin/pulumi"
  rmdir "$partial"
fi
echo "$bin"
