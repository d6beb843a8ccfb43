# Two images from one build:  docker build --target broker .   and   docker build --target operator .
# They hold one program, the C library it is linked to, and nothing to log in with: no shell, no package manager, not root.
# Base images are named in full, so that builders without a default registry find them too.

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Given by the e2e tests only, to build in less time; without them the release profile's own values hold.
ARG CARGO_PROFILE_RELEASE_LTO
ARG CARGO_PROFILE_RELEASE_OPT_LEVEL
ARG CARGO_PROFILE_RELEASE_CODEGEN_UNITS
ARG CARGO_PROFILE_RELEASE_DEBUG
ARG CARGO_INCREMENTAL
# Cargo compares times, and the cache may hold a newer build of older or other sources (two clones, an edit during a build):
# without the touch their programs would end up in the image.
# Cargo's downloads and the compiled dependencies outlive a change of the sources. The programs are copied out, because
# the cache mounts are not part of the layer. A builder may put both caches elsewhere by CARGO_HOME and CARGO_TARGET_DIR.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    find . -path ./target -prune -o -type f -exec touch {} + \
 && cargo build --release --locked --package broker --package operator --bins \
 && mkdir /programs \
 && cp "${CARGO_TARGET_DIR:-target}/release/millrace-broker" "${CARGO_TARGET_DIR:-target}/release/millrace-operator" /programs/ \
 && strip --strip-debug /programs/*

# The root file system of both images: Debian's C library and libgcc, unpacked, with their records kept where scanners
# look for them (as the distroless images do), one user, and a /tmp for who mounts nothing there.
FROM docker.io/library/debian:bookworm-slim AS root
WORKDIR /packages
RUN apt-get update \
 && apt-get download libc6 libgcc-s1 \
 && mkdir -p /image/var/lib/dpkg/status.d /image/etc /image/home/millrace /image/var/lib/millrace \
 && for package in *.deb; do \
      dpkg-deb --extract "$package" /image \
      && dpkg-deb --field "$package" > "/image/var/lib/dpkg/status.d/$(dpkg-deb --field "$package" Package)" || exit 1; \
    done \
 && rm -rf /image/usr/share/doc /image/usr/share/lintian /image/usr/lib/*/gconv /image/lib/*/gconv /image/usr/bin /image/usr/sbin /image/sbin \
 && cp /etc/os-release /image/etc/ \
 && echo 'millrace:x:1000:1000::/home/millrace:/sbin/nologin' > /image/etc/passwd \
 && echo 'millrace:x:1000:' > /image/etc/group \
 && echo 'hosts: files dns' > /image/etc/nsswitch.conf \
 && install -d -m 1777 /image/tmp \
 && chown 1000:1000 /image/home/millrace /image/var/lib/millrace

FROM scratch AS operator
COPY --from=root /image/ /
COPY --from=build /programs/millrace-operator /usr/bin/
USER 1000:1000
ENTRYPOINT ["/usr/bin/millrace-operator"]
CMD ["run"]

FROM scratch AS broker
COPY --from=root /image/ /
COPY --from=build /programs/millrace-broker /usr/bin/
USER 1000:1000
# Where a container without `log.dirs` keeps its data: mount a volume here to keep it.
WORKDIR /var/lib/millrace
EXPOSE 9092
ENTRYPOINT ["/usr/bin/millrace-broker"]
