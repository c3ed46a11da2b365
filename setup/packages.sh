#!/usr/bin/env bash
# Installs the Debian packages that are missing. The one list of them.
#
#   setup/packages.sh build test image cluster     the groups that are wanted
#
# Does nothing (and asks no server) when everything is there. Without root it says what is missing and ends with 1.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin

# group | package | what shows that it is there: a command, or a file pattern
list='
build   | build-essential         | g++
build   | ca-certificates         | /etc/ssl/certs/ca-certificates.crt
build   | git                     | git
build   | maven                   | mvn
build   | python3-pip             | pip
build   | unzip                   | unzip
test    | prometheus              | prometheus
test    | prometheus-node-exporter | prometheus-node-exporter
test    | prometheus-postgres-exporter | prometheus-postgres-exporter
test    | postgresql              | /usr/lib/postgresql/*/bin/postgres
test    | postgresql-client       | psql
image   | buildah                 | buildah
image   | mmdebstrap              | mmdebstrap
cluster | build-essential         | gcc
cluster | conntrack               | conntrack
cluster | containerd              | containerd
cluster | containernetworking-plugins | /usr/lib/cni/bridge
cluster | curl                    | curl
cluster | etcd-server             | etcd
cluster | iproute2                | ip
cluster | iptables                | iptables
cluster | openssl                 | openssl
cluster | procps                  | pgrep
cluster | runc                    | runc
'

present() { # COMMAND-OR-PATTERN
  case $1 in
    /*) compgen -G "$1" >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

missing=()
while IFS='| ' read -r group package sign; do
  [[ -n $group && " $* " == *" $group "* ]] || continue
  present "$sign" || missing+=("$package")
done <<<"$list"
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "setup: this is no Debian; install what these packages bring, then run again: ${missing[*]}" >&2
  exit 1
fi
if [ "$(id -u)" != 0 ]; then
  echo "setup: missing Debian packages; run: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
echo "setup: installing ${missing[*]}" >&2
log=$(mktemp)
# The tests start the servers that they need; a package shall not start its own on this machine's ports.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
fi
if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "setup: apt-get could not install ${missing[*]}; the whole log is $log" >&2
  exit 1
fi
rm -f "$log"
