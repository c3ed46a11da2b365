#!/usr/bin/env bash
# Puts CPU-only native libraries for the Rust build into <repo>/.native (ignored by git).
#   .native/libtorch/{lib,include,build-version}   libtorch 2.13.0, for tch 0.26.0
#   .native/xgboost/libxgboost.so{,.3}             XGBoost 3.4.1, for xgb 3.4.0
#   .native/libclang/libclang.so                   for bindgen, which xgb runs
# Needs: mvn, pip, unzip, strip, apt-get, dpkg-deb (Debian bookworm, amd64). No root. Idempotent.
set -euo pipefail
ROOT="$(cd "$(dirname "$0")/.." && pwd)"; N="$ROOT/.native"
TORCH=2.13.0; BD=2.13.0-1.5.14
XGB=3.4.1; CLANG=18.1.1
[ "$(uname -m)" = x86_64 ] || { echo "setup: libtorch is published for x86_64 only, this machine is $(uname -m)" >&2; exit 1; }
W="$N/tmp"; rm -rf "$W"
sha() { echo "$1  $2" | sha256sum -c --quiet -; }
wheel() { pip download -q --disable-pip-version-check --no-deps --only-binary=:all: -d "$W" "$@"; }

xgboost() {
  echo "setup: fetching XGBoost $XGB (30 MB, once)" >&2
  mkdir -p "$W" "$N/xgboost" "$N/libclang"
  # The wheel wants Python 3.12; nothing of Python is used.
  wheel --python-version 3.12 "xgboost-cpu==$XGB"
  local package="$W/xgboost_cpu-$XGB-py3-none-manylinux_2_28_x86_64.whl"
  sha 1f16331f5c6beb2b40fbd4bf2834333062d93c9eb38b76186a5c206841dc1809 "$package"
  unzip -q -o -j "$package" 'xgboost/lib/libxgboost.so' 'xgboost_cpu.libs/libgomp-*' -d "$N/xgboost"
  ln -sf libxgboost.so "$N/xgboost/libxgboost.so.3"   # its SONAME
  wheel "libclang==$CLANG"
  local clang; clang=$(echo "$W"/libclang-"$CLANG"-*.whl)
  sha c533091d8a3bbf7460a00cb6c1a71da93bffe148f172c7d03b1c31fbf8aa2a0b "$clang"
  unzip -q -o -j "$clang" '*/libclang.so' -d "$N/libclang"
  rm -rf "$W"
}
[ -e "$N/.xgboost-$XGB-$CLANG" ] || { xgboost; touch "$N/.xgboost-$XGB-$CLANG"; }

STAMP="$N/.done-$BD-v1"; [ -e "$STAMP" ] && exit 0
echo "setup: fetching libtorch $TORCH (200 MB, once)" >&2
mkdir -p "$W" "$N/libtorch/lib"

# 1. CPU-only libtorch binaries: Maven Central, org.bytedeco:pytorch, classifier linux-x86_64 (88 MB)
mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy -Dmdep.useBaseVersion=true \
    -Dartifact="org.bytedeco:pytorch:$BD:jar:linux-x86_64" -DoutputDirectory="$W"
J="$W/pytorch-$BD-linux-x86_64.jar"
sha df6c77af6e69ee94b171e157b4a2a67453256feed9a1b47443cb2c0cf1c93643 "$J"
for f in libtorch.so libtorch_cpu.so libc10.so libgomp.so.1; do
  unzip -q -o -j "$J" "org/bytedeco/pytorch/linux-x86_64/$f" -d "$N/libtorch/lib"
done
strip --strip-unneeded "$N"/libtorch/lib/libtorch_cpu.so "$N"/libtorch/lib/libc10.so   # 321 -> 236 MB

# 2. headers of the same commit: the smallest torch wheel on PyPI (macOS arm64, 111 MB); only include/ is used
pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --platform macosx_14_0_arm64 \
    --python-version 3.11 --implementation cp -d "$W" "torch==$TORCH"
H="$W/torch-$TORCH-cp311-cp311-macosx_14_0_arm64.whl"
sha e76f9bcecc52b8ff711239a2f7547d5353df95878ab232f0773c1d95928b92f8 "$H"
unzip -q -o "$H" 'torch/include/*' -d "$W"; rm -rf "$N/libtorch/include"; mv "$W/torch/include" "$N/libtorch/include"
echo "$TORCH" > "$N/libtorch/build-version"     # makes torch-sys check the version

# 3. OpenBLAS, OpenMP build (the -pthread build ignores torch's thread count): Debian, 6.7 + 0.8 MB
#    (apt-get download needs the package lists, which a slim image has thrown away)
compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null || apt-get update -qq
( cd "$W" && apt-get download -q libopenblas0-openmp libgfortran5 >/dev/null && for d in *.deb; do dpkg-deb -x "$d" deb; done )
cp -L "$W"/deb/usr/lib/*/openblas-openmp/libopenblas.so.0 "$W"/deb/usr/lib/*/libgfortran.so.5 "$N/libtorch/lib/"

rm -rf "$W"; touch "$STAMP"
