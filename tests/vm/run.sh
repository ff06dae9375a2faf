#!/bin/bash
# run.sh SETPOINT: smoke.sh, systemd.sh and rootless.sh on a pure cgroup v2 host with systemd, which is a virtual machine of its own.
# SETPOINT_VM_CACHE is where the machine's image is kept.
set -euo pipefail
[ $# = 1 ] && [ -x "$1" ] || { sed -n 2,3p "$0" >&2; exit 2; }
[ "$(uname -m)" = x86_64 ] || { echo "run.sh: the image is made for x86_64, and this is $(uname -m)" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
cache=${SETPOINT_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/setpoint-vm}
"$here/image.sh" "$cache"
job=$(mktemp -d /tmp/spjob.XXXXXX)
trap 'rm -rf "$job"' EXIT
# What is read and loaded under emulation is to be small.
strip -o "$job/setpoint" "$1"
cp "$here"/{smoke,systemd,rootless}.sh "$job"
cp -r "$here/../../systemd" "$job/systemd"
mkdir "$job/examples"
# Without root file systems that a demonstration may have made there.
cp "$here/../../examples/rootfs.sh" "$job/examples"
for example in hello limits; do
    mkdir "$job/examples/$example"
    find "$here/../../examples/$example" -maxdepth 1 -type f -exec cp -t "$job/examples/$example" {} +
    # Made there it would take half a minute. It is made anew where the machine's busybox is another one.
    sh "$job/examples/rootfs.sh" "$job/examples/$example/rootfs"
done
cat >"$job/job" <<'X'
#!/bin/bash
./smoke.sh && ./systemd.sh && ./rootless.sh
X
chmod 755 "$job"/{job,smoke.sh,systemd.sh,rootless.sh}
"$here/boot.sh" "$cache" "$job"
