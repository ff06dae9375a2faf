#!/bin/sh
# deps.sh build|demo|test|bench|vm|conformance: installs the Debian packages that are missing for it, and says which and what for.
# Looks at programs and not at packages, so on other distributions it only names what is missing.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

packages= reasons=
need() { # program-or-file package what-for
    case $1 in
    /*) [ ! -e "$1" ] || return 0 ;;
    *) ! command -v "$1" >/dev/null 2>&1 || return 0 ;;
    esac
    packages="$packages $2"
    reasons="$reasons
  $2: $3"
}

for_building() {
    need cc gcc "links the program, compiles SQLite, zstd and xz"
    need /usr/include/stdio.h libc6-dev "the C library, linked statically"
}
for_running() {
    need nft nftables "published ports and masquerading"
}
case ${1:-} in
build)
    for_building
    ;;
demo)
    for_building
    for_running
    need /bin/busybox busybox-static "the image of examples/hello is made of it"
    need curl curl "asks the published port"
    ;;
test)
    for_building
    for_running
    need /bin/busybox busybox-static "most tests' image is made of it"
    need ip iproute2 "looks at links, breaks them on purpose"
    need docker-registry docker-registry "the registry that tests pull from"
    need skopeo skopeo "pushes images into it"
    need git git "fetches contexts, and makes the repositories that tests fetch"
    need ssh-agent openssh-client "an agent with a key, which builds are lent"
    need bzip2 bzip2 "packs archives that ADD unpacks"
    need xz xz-utils "the same"
    need dockerd docker.io "reads what save writes and writes what load reads; the tests start their own"
    need podman podman "the same"
    need buildah buildah "builds the Dockerfiles that setpoint builds, to compare"
    need qemu-aarch64-static qemu-user-static "runs a program of another platform in a build"
    need strace strace "audits a dry run"
    need ps procps "prints what `top` with arguments shows"
    need debootstrap debootstrap "makes an image with PostgreSQL, Redis and nginx"
    need openssl openssl "makes keys and signs with them"
    need readelf binutils "shows that the program is static"
    need newuidmap uidmap "gives an ordinary user's namespaces their users"
    need slirp4netns slirp4netns "connects an ordinary user's network"
    need podman podman "drives setpoint as its OCI runtime"
    need conmon conmon "holds podman's containers"
    need containerd containerd "drives setpoint as its OCI runtime"
    ;;
bench)
    for_building
    for_running
    need /bin/busybox busybox-static "what is run is made of it"
    need ip iproute2 "a network namespace for the bench"
    need python3 python3 "measures"
    need dockerd docker.io "measured beside setpoint; the bench starts its own"
    need podman podman "measured beside setpoint"
    need docker-registry docker-registry "images are pulled from it and pushed to it"
    need skopeo skopeo "fills it"
    need docker-compose docker-compose "measured beside setpoint"
    need buildah buildah "measured beside setpoint"
    need crun crun "measured beside setpoint"
    need mkfs.ext4 e2fsprogs "a file system for builds"
    ;;
conformance)
    need runc runc "counted beside setpoint"
    need crun crun "counted beside setpoint"
    need python3 python3 "reads the suite's answers"
    need /usr/include/seccomp.h libseccomp-dev "the suite and youki are built with it"
    need pkg-config pkg-config "finds it for them"
    need ip iproute2 "the suite makes network namespaces"
    ;;
vm)
    for_building
    need qemu-system-x86_64 qemu-system-x86 "the virtual machine"
    need debootstrap debootstrap "puts its disk together"
    need mkfs.ext4 e2fsprogs "makes its file system"
    need strip binutils "makes what is tested small"
    need /bin/busybox busybox-static "the image that is run is made of it"
    ;;
*)
    echo "usage: $0 build|demo|test|bench|vm|conformance" >&2
    exit 2
    ;;
esac
command -v cargo >/dev/null 2>&1 || { echo "cargo is missing: install Rust 1.95 or newer first (https://rustup.rs)" >&2; exit 1; }
[ -n "$packages" ] || exit 0

echo "Missing for \`make $1\`:$reasons"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "This is no Debian: install them with this system's package manager." >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "Not root: run \`apt-get install$packages\` as root." >&2
    exit 1
fi
echo "Installing with apt-get:$packages"
# The services that come with some packages (a registry, dockerd) must not start here: the tests run their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    trap 'rm -f $policy' EXIT
    trap 'exit 1' INT TERM
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
# shellcheck disable=SC2086 # a list of words
apt-get -q install -y --no-install-recommends $packages
