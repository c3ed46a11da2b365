#!/usr/bin/env bash
# Builds the images and brings them to where the cluster finds them.
#
#   setup/images.sh           into the local cluster (e2e/cluster)
#   setup/images.sh push      to $IMAGE_REGISTRY, for an existing cluster
#
# Writes `howdah=REFERENCE`, `postgres=REFERENCE` and `monitoring=REFERENCE` to target/images/references. Rebuilds only
# what changed; wants target/debug/howdah compiled.
# Where no image registry can be reached, the Debian base is made here by mmdebstrap from the host's own apt sources,
# under the name that the Dockerfiles use, and apt inside the build uses the host's apt configuration.
set -euo pipefail
shopt -s inherit_errexit
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=$root/target/images
base=docker.io/library/debian:bookworm-slim
mkdir -p "$state"
export PATH=$PATH:/usr/sbin:/sbin BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot}

say() { printf 'images: %s\n' "$*" >&2; }
stop() { say "$*"; exit 1; }

# quietly LOG COMMAND…: shows the log's end only when the command fails.
quietly() {
  local log=$state/$1.log; shift
  "$@" >"$log" 2>&1 || { tail -n 30 "$log" >&2; stop "$1 failed; the whole log is $log"; }
}

# digest FILE…: of contents.
digest() { sha256sum "$@" | sha256sum | cut -c1-16; }

base_image() {
  buildah inspect --type image "$base" >/dev/null 2>&1 && return
  if timeout 60 buildah pull --quiet "$base" >/dev/null 2>&1; then return; fi
  say "no image registry in reach: making $base with mmdebstrap (about a minute, once)"
  local sources=() file container
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
    if [ -s "$file" ]; then sources+=("$file"); fi
  done
  [ ${#sources[@]} -gt 0 ] || stop "no apt sources in /etc/apt: add Debian's, or make $base available"
  # The host's way to its mirror (proxy, certificates, dates) is not part of the image.
  apt-config dump | grep -E '^Acquire::(http|https|Check-|ForceIPv|Retries)' >"$state/apt.conf" || true
  quietly base mmdebstrap --variant=minbase --aptopt="$state/apt.conf" \
    --customize-hook='rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap' bookworm "$state/base.tar" "${sources[@]}"
  container=$(buildah from scratch)
  buildah add -q "$container" "$state/base.tar" / >/dev/null
  buildah config --cmd bash --label dev.howdah.base=mmdebstrap "$container"
  buildah commit -q "$container" "$base" >/dev/null
  buildah rm "$container" >/dev/null
  rm -f "$state/base.tar"
}

# The base that was made here: apt in the build reaches its mirror as the host does, by a copy of its configuration
# (packages write there when they are installed) that is mounted and never part of the image.
apt_of_the_host() {
  buildah inspect --type image --format '{{index .OCIv1.Config.Labels "dev.howdah.base"}}' "$base" 2>/dev/null | grep -q mmdebstrap || return 0
  rm -rf "$state/apt"
  cp -rL /etc/apt "$state/apt"
  if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    cp -L /etc/ssl/certs/ca-certificates.crt "$state/apt/ca.crt"
    echo 'Acquire::https::CAInfo "/etc/apt/ca.crt";' >"$state/apt/apt.conf.d/zz-ca"
  fi
  printf '%s\n' --network host --volume "$state/apt:/etc/apt" --volume /usr/share/keyrings:/usr/share/keyrings:ro
}

# image NAME KEY CONTEXT [BUILDAH-OPTION…]: builds localhost/NAME:KEY unless it is there, brings it to the cluster and
# prints the reference under which the cluster finds it.
image() {
  local name=$1 key=$2 context=$3; shift 3
  local reference=localhost/$name:$key
  if ! buildah inspect --type image "$reference" >/dev/null 2>&1; then
    base_image
    local options
    mapfile -t options < <(apt_of_the_host)
    say "building $name"
    quietly "build-$name" buildah build --layers "${options[@]}" "$@" --tag "$reference" "$context"
    # Only the newest is of use, and each is half a gigabyte.
    buildah images --format '{{.Name}}:{{.Tag}}' |
      awk -v name="localhost/$name:" -v newest="$reference" 'index($0, name) == 1 && $0 != newest' | xargs -r buildah rmi >/dev/null
  fi
  deliver "$name" "$reference"
}

deliver() { # NAME REFERENCE
  local name=$1 reference=$2
  if [ "$target" = push ]; then
    local remote=$IMAGE_REGISTRY/$name:${reference##*:}
    quietly "push-$name" buildah push --quiet "$reference" "$remote"
    echo "$remote"
    return
  fi
  if ! "$root/e2e/cluster/cluster" has "$reference"; then
    rm -f "$state/$name.tar"
    quietly "save-$name" buildah push --quiet "$reference" "docker-archive:$state/$name.tar:$reference"
    "$root/e2e/cluster/cluster" load "$state/$name.tar"
    rm -f "$state/$name.tar"
  fi
  echo "$reference"
}

# Only what goes into the image, so that nothing else makes it build again.
howdah_context() {
  local context=$state/howdah
  rm -rf "$context"
  mkdir -p "$context/target/debug" "$context/.native/libtorch"
  strip --strip-debug -o "$context/target/debug/howdah" "$root/target/debug/howdah"
  cp -rL "$root/.native/libtorch/lib" "$context/.native/libtorch/lib"
  cp -rL "$root/.native/xgboost" "$context/.native/xgboost"
}

target=${1:-cluster}
[ "$target" != push ] || [ -n "${IMAGE_REGISTRY:-}" ] ||
  stop "set IMAGE_REGISTRY to a registry that the cluster pulls from, e.g. IMAGE_REGISTRY=registry.example.com/me"
[ -x "$root/target/debug/howdah" ] || stop "target/debug/howdah is missing: run \`make build\` first"
[ "$(id -u)" = 0 ] || command -v newuidmap >/dev/null || stop "without root, buildah needs the package uidmap"

key=$(digest "$root/target/debug/howdah" "$root/Dockerfile" "$root/setup/native.sh")
if ! buildah inspect --type image "localhost/howdah:$key" >/dev/null 2>&1; then howdah_context; fi
howdah=$(image howdah "$key" "$state/howdah" --build-arg BINARIES=prebuilt --file "$root/Dockerfile")
rm -rf "$state/howdah"

# Of a directory of the demo, whose files are the image's key.
demo_image() { image "howdah-$1" "$(digest "$root/config/samples/demo/$1"/*)" "$root/config/samples/demo/$1"; }
postgres=$(demo_image postgres)
monitoring=$(demo_image monitoring)

printf '%s=%s\n' howdah "$howdah" postgres "$postgres" monitoring "$monitoring" | tee "$state/references"
