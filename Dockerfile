# The image of the operator and of its benchmark Jobs. `docker build -t howdah .` builds it anywhere.
#
# --build-arg BINARIES=prebuilt takes what is compiled already (target/debug/howdah, .native/libtorch/lib and
# .native/xgboost in the build context) instead of compiling it a second time; setup/images.sh does that.
ARG BINARIES=build

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY setup/native.sh setup/
# setup/native.sh downloads OpenBLAS with apt-get, so the package lists must be there while it runs.
RUN apt-get update \
 && apt-get install -y --no-install-recommends maven python3-pip unzip \
 && setup/native.sh \
 && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cargo build --release --locked --bin howdah \
 && mkdir -p /out/bin /out/lib \
 && cp target/release/howdah /out/bin/ \
 && cp -L .native/libtorch/lib/*.so* .native/xgboost/* /out/lib/

FROM docker.io/library/debian:bookworm-slim AS prebuilt
# The libraries first: they change less often.
COPY .native/libtorch/lib/ .native/xgboost/ /out/lib/
COPY target/debug/howdah /out/bin/howdah

FROM ${BINARIES} AS binaries

# Debian packs pgbench with the server, of which nothing else is wanted here.
FROM docker.io/library/debian:bookworm-slim AS pgbench
WORKDIR /tmp
RUN apt-get update && apt-get download postgresql-15 && dpkg-deb -x postgresql-15_*.deb /tmp/postgresql

FROM docker.io/library/debian:bookworm-slim
# libpq5 is for pgbench; libquadmath0 is what OpenBLAS's Fortran runtime needs beside the libraries below.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libpq5 libquadmath0 libstdc++6 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=pgbench /tmp/postgresql/usr/lib/postgresql/15/bin/pgbench /usr/local/bin/pgbench
COPY --from=binaries /out/lib/ /usr/local/lib/howdah/
RUN echo /usr/local/lib/howdah >/etc/ld.so.conf.d/howdah.conf && ldconfig
COPY --from=binaries /out/bin/howdah /usr/local/bin/howdah
# One BLAS thread: more of them make DDPG's small matrices slower.
ENV OPENBLAS_NUM_THREADS=1
# Numeric, so that `runAsNonRoot` can be checked.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/howdah"]
