#!/bin/bash
# run.sh SETPOINT [SCRIPT...]: the scripts of this folder, or only these of them, on a pure cgroup v2 host with systemd, which
# is a virtual machine of its own; those whose names begin with `hybrid`, on one with cgroup v1 beside v2. SETPOINT_VM_CACHE is
# where the machine's image is kept.
set -euo pipefail
[ $# -ge 1 ] && [ -x "$1" ] || { sed -n 2,4p "$0" >&2; exit 2; }
[ "$(uname -m)" = x86_64 ] || { echo "run.sh: the image is made for x86_64, and this is $(uname -m)" >&2; exit 1; }
binary=$(realpath "$1")
shift
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- smoke.sh limits.sh oci.sh systemd.sh rootless.sh hybrid.sh
cache=${SETPOINT_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/setpoint-vm}
./image.sh "$cache"
job=$(mktemp -d /tmp/spjob.XXXXXX)
trap 'rm -rf "$job"' EXIT
# What is read and loaded under emulation is to be small.
strip -o "$job/setpoint" "$binary"
cp common.sh "$@" "$job"
cp -r ../../systemd "$job/systemd"
mkdir "$job/examples"
# Without root file systems that a demonstration may have made there.
cp ../../examples/rootfs.sh "$job/examples"
for example in hello limits; do
    mkdir "$job/examples/$example"
    find "../../examples/$example" -maxdepth 1 -type f -exec cp -t "$job/examples/$example" {} +
    # Made there it would take half a minute. It is made anew where the machine's busybox is another one.
    sh "$job/examples/rootfs.sh" "$job/examples/$example/rootfs"
done
# boot KERNEL_WORDS SCRIPT...
boot() {
    local words=$1
    shift
    [ $# -gt 0 ] || return 0
    {
        echo '#!/bin/bash'
        for script in "$@"; do
            echo "echo '== $script' && ./$script || exit"
        done
    } >"$job/job"
    chmod 755 "$job"/{job,*.sh}
    VM_KERNEL=$words ./boot.sh "$cache" "$job"
}
pure=() hybrid=()
for script in "$@"; do
    case $script in hybrid*) hybrid+=("$script") ;; *) pure+=("$script") ;; esac
done
boot "" "${pure[@]}"
boot systemd.unified_cgroup_hierarchy=0 "${hybrid[@]}"
