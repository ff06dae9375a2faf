#!/bin/bash
# limits.sh: what containers are kept to on a pure cgroup v2 host: memory, processors, processes, disks, devices; and that they
# can be paused and given other limits while they run. Expects what smoke.sh does. Changes the scheduler of the disk that
# /var/tmp is on, and puts it back.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "$0")/common.sh"
scratch=$(mktemp -d /var/tmp/limits.XXXXXX)
export SETPOINT_STATE_DIR=$scratch/state SETPOINT_RUN_DIR=$scratch/run
scheduler=
finish() {
    code=$?
    [ $code = 0 ] || setpoint ps -a || true
    [ -z "$scheduler" ] || echo "$scheduler" >"/sys/block/$disk/queue/scheduler" || code=1
    setpoint system reset --force --volumes || code=1
    left=$(find /sys/fs/cgroup -type d -name 'setpoint-*' | head -n 3)
    [ -z "$left" ] || { echo "FAILED: cgroups are left: $left" >&2; code=1; }
    rm -rf "$scratch"
    [ $code = 0 ] && say "all is well"
    exit $code
}
trap finish EXIT
pid() { setpoint inspect --format '{{.State.Pid}}' "$1"; }
run() { setpoint run --network none "$@"; }

disk=$(findmnt -no SOURCE -T /var/tmp)
disk=${disk#/dev/}
numbers=$(line "/sys/block/$disk/dev")
sh "$here/examples/rootfs.sh" "$rootfs"
setpoint import -q "$rootfs" localhost/box:1 >/dev/null

say "all limits that there are, as the kernel has them"
run -d --name all -m 64m --memory-swap 96m --memory-reservation 32m --cpus 0.5 --cpu-shares 512 --cpuset-cpus 1 --cpuset-mems 0 \
    --pids-limit 50 --device-read-bps "/dev/$disk:8mb" --device-write-bps "/dev/$disk:4mb" \
    --device-read-iops "/dev/$disk:900" --device-write-iops "/dev/$disk:800" localhost/box:1 sleep inf >/dev/null
all=$(group "$(pid all)")
is memory.max "$(line "$all/memory.max")" $((64 << 20))
is memory.swap.max "$(line "$all/memory.swap.max")" $((32 << 20))
is memory.low "$(line "$all/memory.low")" $((32 << 20))
is cpu.max "$(line "$all/cpu.max")" "50000 100000"
is cpu.weight "$(line "$all/cpu.weight")" 59
is cpuset.cpus "$(line "$all/cpuset.cpus")" 1
is cpuset.mems "$(line "$all/cpuset.mems")" 0
is pids.max "$(line "$all/pids.max")" 50
is io.max "$(line "$all/io.max")" "$numbers rbps=8388608 wbps=4194304 riops=900 wiops=800"
is "its processors" "$(setpoint exec all nproc)" 1

say "other limits while it runs"
setpoint update -m 48m --cpus 0.25 --pids-limit 30 all >/dev/null
is "memory.max then" "$(line "$all/memory.max")" $((48 << 20))
is "cpu.max then" "$(line "$all/cpu.max")" "25000 100000"
is "pids.max then" "$(line "$all/pids.max")" 30
is "io.max then" "$(line "$all/io.max")" "$numbers rbps=8388608 wbps=4194304 riops=900 wiops=800"
is "cpuset.cpus then" "$(line "$all/cpuset.cpus")" 1

say "pause and unpause"
setpoint pause all >/dev/null
is "frozen" "$(number "$all/cgroup.events" frozen)" 1
is "its status" "$(setpoint inspect --format '{{.State.Status}}' all)" paused
setpoint unpause all >/dev/null
is "frozen after it" "$(number "$all/cgroup.events" frozen)" 0
is "its answer after it" "$(setpoint exec all echo again)" again
setpoint rm -f all >/dev/null

say "processors: one that computes is throttled"
run -d --name busy --cpus 0.2 localhost/box:1 sh -c 'while :; do :; done' >/dev/null
busy=$(group "$(pid busy)")
throttled() { [ "$(number "$busy/cpu.stat" nr_throttled)" -ge 5 ]; }
until_true throttled
setpoint rm -f busy >/dev/null

say "processes: no more than allowed"
said=$(run --rm --pids-limit 8 localhost/box:1 sh -c 'for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait' 2>&1) || true
[[ $said == *fork* ]] || fail "it says: $said"

say "memory: one that takes too much is killed, and that is reported"
code=0
run --name greedy -m 24m --memory-swap 24m localhost/box:1 tail /dev/zero || code=$?
is "its exit code" "$code" 137
is "how it ended" "$(setpoint inspect --format '{{.State.OOMKilled}} {{.State.ExitCode}} {{.State.Status}}' greedy)" "true 137 exited"
run -d --name other -m 24m localhost/box:1 sleep inf >/dev/null
setpoint kill other >/dev/null
is "the exit code of one that is killed otherwise" "$(setpoint wait other)" 137
is "how that one ended" "$(setpoint inspect --format '{{.State.OOMKilled}}' other)" false

say "disks: writing takes as long as the rate says"
begun=$(date +%s%N)
run --rm --device-write-bps "/dev/$disk:1mb" localhost/box:1 dd if=/dev/zero of=/tmp/file bs=512k count=8 oflag=direct 2>/dev/null
took=$((($(date +%s%N) - begun) / 1000000))
# Four mebibytes; the first of them may come at once.
[ $took -ge 2500 ] || fail "4 MiB at 1 MiB a second took $took ms"

say "disks: weights, also where the scheduler bfq has its own"
run -d --name light --blkio-weight 505 localhost/box:1 sleep inf >/dev/null
is io.weight "$(line "$(group "$(pid light)")/io.weight")" "default 5000"
setpoint rm -f light >/dev/null
schedulers=$(line "/sys/block/$disk/queue/scheduler")
before=${schedulers#*[}
modprobe bfq
scheduler=${before%]*}
echo bfq >"/sys/block/$disk/queue/scheduler"
run -d --name heavy --blkio-weight 700 localhost/box:1 sleep inf >/dev/null
heavy=$(group "$(pid heavy)")
is io.bfq.weight "$(line "$heavy/io.bfq.weight")" "default 700"
setpoint rm -f heavy >/dev/null
run -d --name heavy --blkio-weight-device "/dev/$disk:300" localhost/box:1 sleep inf >/dev/null
heavy=$(group "$(pid heavy)")
is io.bfq.weight "$(grep : "$heavy/io.bfq.weight")" "$numbers 300"
setpoint rm -f heavy >/dev/null

say "devices: those that are given, in the way that they are given"
minor=${numbers#*:}
script="head -c 1 /dev/given >/dev/null && echo read
(echo x >/dev/given) 2>/dev/null || echo not written
mknod /tmp/again b ${numbers%:*} $minor && (echo x >/tmp/again) 2>/dev/null || echo not by another node
mknod /tmp/memory c 1 1 && head -c 1 /tmp/memory 2>/dev/null || echo no memory"
said=$(run --rm --cap-add MKNOD --device "/dev/$disk:/dev/given:r" localhost/box:1 sh -c "$script")
is "what it could do" "$said" $'read\nnot written\nnot by another node\nno memory'

say "what this host does not have is refused"
said=$(run --rm --oom-kill-disable localhost/box:1 true 2>&1) && fail "there is no memory.oom_control, and it was accepted"
[[ $said == *controller* || $said == *oom* ]] || fail "it says: $said"
