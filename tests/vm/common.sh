# common.sh: the words of the scripts that run in the virtual machine. Sourced by them.
# shellcheck shell=bash
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
setpoint() { "$here/setpoint" "$@"; }
say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
is() { [ "$2" = "$3" ] || fail "$1 is '$2' and not '$3'"; }
# The machine is emulated: what takes a moment may take a while.
until_true() { for _ in $(seq 120); do "$@" && return 0; sleep 0.5; done; fail "not within a minute: $*"; }
# A file's only line, without a process of its own.
line() { local text; IFS= read -r text <"$1" || [ -n "$text" ] || fail "$1 cannot be read"; printf '%s' "$text"; }
# The number behind a word at the beginning of a line.
number() { local word value; while read -r word value; do [ "$word" != "$2" ] || printf '%s' "$value"; done <"$1"; }
# The cgroup's folder of a process.
group() { local text; text=$(line "/proc/$1/cgroup"); printf '%s' "/sys/fs/cgroup${text#0::}"; }
# Made by examples/rootfs.sh: a root file system with busybox.
rootfs=$here/examples/hello/rootfs
# What systemd has of a unit.
shows() { systemctl show -p "$1" --value "$2"; }
# bundle CGROUPS_PATH RESOURCES COMMAND [ANNOTATIONS]: in the folder $scratch, whose rootfs is there.
bundle() {
    cat >"$scratch/config.json" <<J
{ "ociVersion": "1.2.0",
  "process": { "args": ["/bin/sh", "-c", "$3"], "cwd": "/", "user": { "uid": 0, "gid": 0 }, "env": ["PATH=/bin"],
    "capabilities": { "bounding": ["CAP_MKNOD"], "effective": ["CAP_MKNOD"], "permitted": ["CAP_MKNOD"] } },
  "root": { "path": "rootfs" },
  "mounts": [ { "destination": "/proc", "type": "proc", "source": "proc" },
    { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" } ],
  "annotations": { ${4-} },
  "linux": { "cgroupsPath": "$1", "resources": $2,
    "namespaces": [ { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }, { "type": "network" } ] } }
J
}
