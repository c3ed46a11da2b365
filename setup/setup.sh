#!/usr/bin/env bash
# Everything that `make` needs before it can build: Debian packages, toolchains, libtorch.
#
#   setup/setup.sh                  what building and testing need
#   setup/setup.sh image            what building images needs, too
#   setup/setup.sh image cluster    the local cluster's packages and Go as well
#
# Idempotent; well under a second when nothing is missing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

stop() { printf 'setup: %s\n' "$*" >&2; exit 1; }

command -v cargo >/dev/null || stop "Rust is missing: install Rust 1.90 or newer (https://rustup.rs), then run this again."
if [[ " $* " == *" cluster "* ]]; then
  command -v go >/dev/null || stop "Go is missing: install Go 1.25 or newer (https://go.dev/dl), which builds the local cluster, then run this again."
fi
"$here/packages.sh" build test "$@"
"$here/native.sh"
