#!/bin/bash
# hybrid.sh: systemd as the maker of bundles' cgroups on a host whose controllers are in hierarchies of v1. Expects what smoke.sh
# does, on a host that was booted with systemd.unified_cgroup_hierarchy=0.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "$0")/common.sh"
scratch=$(mktemp -d /var/tmp/hybrid.XXXXXX)
oci() { setpoint oci --root "$scratch/records" "$@"; }
finish() {
    code=$?
    oci delete --force one || code=1
    left=$(find /sys/fs/cgroup -name 'oci-*.scope' | head -n 3)
    [ -z "$left" ] || { echo "FAILED: cgroups are left: $left" >&2; code=1; }
    rm -rf "$scratch"
    [ $code = 0 ] && say "all is well"
    exit $code
}
trap finish EXIT
[ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ] || fail "this host's controllers are in no hierarchies of v1"
sh "$here/examples/rootfs.sh" "$rootfs"
cp -a "$rootfs" "$scratch/rootfs"
mkdir -p "$scratch/rootfs"/{dev,proc,sys}

say "a scope with its limits"
bundle spvm.slice:oci:one '{
    "memory": { "limit": 67108864 }, "cpu": { "shares": 512, "quota": 12345, "period": 50000, "cpus": "1", "mems": "0" },
    "pids": { "limit": 40 }, "hugepageLimits": [ { "pageSize": "2MB", "limit": 2097152 } ],
    "devices": [ { "allow": false, "access": "rwm" } ] }' \
    'trap : TERM; (echo >/dev/null) && echo null; mknod /dev/disk b 8 0; head -c 1 /dev/disk 2>/dev/null || echo no disk; while :; do sleep 1; done'
oci --systemd-cgroup create --bundle "$scratch" --pid-file "$scratch/pid" one >"$scratch/said" 2>&1 </dev/null || fail "$(cat "$scratch/said")"
unit=oci-one.scope
is "what systemd has of it" "$(systemctl show -p ActiveState,Slice,Delegate,MemoryLimit,TasksMax,CPUShares,CPUQuotaPerSecUSec,DevicePolicy $unit | sort | tr '\n' ' ')" \
    "ActiveState=active CPUQuotaPerSecUSec=250ms CPUShares=512 Delegate=yes DevicePolicy=strict MemoryLimit=67108864 Slice=spvm.slice TasksMax=40 "
of() { printf '%s' "/sys/fs/cgroup/$1/spvm.slice/$unit/$2"; }
limits() { # WHEN MEMORY PIDS QUOTA PROCESSORS
    is "memory $1" "$(line "$(of memory memory.limit_in_bytes)")" "$2"
    is "pids $1" "$(line "$(of pids pids.max)")" "$3"
    is "quota $1" "$(line "$(of cpu cpu.cfs_quota_us)")" "$4"
    is "processors $1" "$(line "$(of cpuset cpuset.cpus)")" "$5"
}
limits "at first" 67108864 40 12345 1
is "shares" "$(line "$(of cpu cpu.shares)")" 512
pid=$(line "$scratch/pid")
for hierarchy in memory pids cpu cpuset devices freezer hugetlb systemd unified; do
    is "who is in $hierarchy" "$(line "$(of $hierarchy cgroup.procs)")" "$pid"
done
oci start one
until_true grep -q disk "$scratch/said"
is "what it could do with devices" "$(<"$scratch/said")" $'null\nno disk'

say "limits that are changed stay so when systemd reads its units again"
oci update --memory 50331648 --pids-limit 30 --cpu-quota 20000 --cpu-period 50000 --cpuset-cpus 0-1 one
systemctl daemon-reload
systemctl set-property --runtime spvm.slice CPUShares=200
limits "then" 50331648 30 20000 0-1
is "MemoryLimit then" "$(shows MemoryLimit $unit)" 50331648
is "devices then" "$(oci exec one sh -c 'echo x >/dev/null && (head -c 1 /dev/disk 2>/dev/null || echo no disk)' </dev/null)" "no disk"

say "pause, and the end"
oci pause one
is "its freezer" "$(line "$(of freezer freezer.state)")" FROZEN
oci resume one
oci delete --force one
is "its unit" "$(shows LoadState $unit)" not-found
