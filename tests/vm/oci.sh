#!/bin/bash
# oci.sh: bundles on a pure cgroup v2 host with systemd: every limit of the specification, devices, and systemd as the maker of
# their cgroups; and Podman as it comes, which asks for that. Expects what smoke.sh does, and podman.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "$0")/common.sh"
scratch=$(mktemp -d /var/tmp/oci.XXXXXX)
ln "$here/setpoint" "$scratch/setpoint-oci"
oci() { "$scratch/setpoint-oci" --root "$scratch/records" "$@"; }
podman() { command podman --runtime "$scratch/setpoint-oci" "$@"; }
finish() {
    code=$?
    for id in one two three; do oci delete --force "$id" || code=1; done
    left=$(find /sys/fs/cgroup -name '*oci-*.scope' -o -name 'libpod-*.scope' -o -name 'sp-files*' | head -n 3)
    [ -z "$left" ] || { echo "FAILED: cgroups are left: $left" >&2; code=1; }
    rm -rf "$scratch"
    [ $code = 0 ] && say "all is well"
    exit $code
}
trap finish EXIT
sh "$here/examples/rootfs.sh" "$rootfs"
cp -a "$rootfs" "$scratch/rootfs"
mkdir -p "$scratch/rootfs"/{dev,proc,sys}

disk=$(findmnt -no SOURCE -T /var/tmp)
numbers=$(line "/sys/block/${disk#/dev/}/dev")
minor=${numbers#*:} major=${numbers%:*}

say "cgroupfs: all that a bundle can name"
throttle() { echo "[ { \"major\": $major, \"minor\": $minor, \"rate\": $1 } ]"; }
bundle /sp-files/one "{
    \"memory\": { \"limit\": 67108864, \"reservation\": 33554432, \"swap\": 100663296 },
    \"cpu\": { \"shares\": 512, \"quota\": 30000, \"period\": 60000, \"burst\": 10000, \"cpus\": \"0-1\", \"mems\": \"0\" },
    \"pids\": { \"limit\": 40 },
    \"blockIO\": { \"throttleReadBpsDevice\": $(throttle 1048576), \"throttleWriteBpsDevice\": $(throttle 2097152),
      \"throttleReadIOPSDevice\": $(throttle 300), \"throttleWriteIOPSDevice\": $(throttle 400) },
    \"unified\": { \"memory.high\": \"50331648\", \"memory.oom.group\": \"1\", \"cgroup.max.descendants\": \"7\" },
    \"devices\": [ { \"allow\": false, \"access\": \"rwm\" },
      { \"allow\": true, \"type\": \"b\", \"major\": $major, \"minor\": $minor, \"access\": \"r\" } ] }" \
    "mknod /dev/disk b $major $minor; head -c 1 /dev/disk >/dev/null && echo read; (echo >/dev/disk) 2>/dev/null || echo not written; mknod /dev/mem c 1 1; head -c 1 /dev/mem 2>/dev/null || echo no memory; echo >/dev/null && echo null"
oci create --bundle "$scratch" --pid-file "$scratch/pid" one >"$scratch/said" 2>&1 </dev/null || fail "$(cat "$scratch/said")"
one=$(group "$(line "$scratch/pid")")
is "its cgroup" "$one" /sys/fs/cgroup/sp-files/one
is memory.max "$(line "$one/memory.max")" 67108864
is memory.low "$(line "$one/memory.low")" 33554432
is memory.swap.max "$(line "$one/memory.swap.max")" 33554432
is memory.high "$(line "$one/memory.high")" 50331648
is memory.oom.group "$(line "$one/memory.oom.group")" 1
is cgroup.max.descendants "$(line "$one/cgroup.max.descendants")" 7
is cpu.weight "$(line "$one/cpu.weight")" 59
is cpu.max "$(line "$one/cpu.max")" "30000 60000"
is cpu.max.burst "$(line "$one/cpu.max.burst")" 10000
is cpuset.cpus "$(line "$one/cpuset.cpus")" 0-1
is cpuset.mems "$(line "$one/cpuset.mems")" 0
is pids.max "$(line "$one/pids.max")" 40
is io.max "$(line "$one/io.max")" "$numbers rbps=1048576 wbps=2097152 riops=300 wiops=400"
oci update --resources - one <<J
{ "memory": { "limit": 50331648, "swap": 50331648 }, "cpu": { "quota": -1, "cpus": "1" }, "pids": { "limit": 30 },
  "blockIO": { "throttleReadBpsDevice": $(throttle 4194304) } }
J
is "memory.max then" "$(line "$one/memory.max")" 50331648
is "memory.swap.max then" "$(line "$one/memory.swap.max")" 0
is "cpu.max then" "$(line "$one/cpu.max")" "max 60000"
is "cpuset.cpus then" "$(line "$one/cpuset.cpus")" 1
is "pids.max then" "$(line "$one/pids.max")" 30
is "io.max then" "$(line "$one/io.max")" "$numbers rbps=4194304 wbps=2097152 riops=300 wiops=400"
oci start one
until_true grep -q null "$scratch/said"
is "what it could do with devices" "$(<"$scratch/said")" $'read\nnot written\nno memory\nnull'
oci delete --force one
[ ! -e "$one" ] || fail "its cgroup is left"
rmdir /sys/fs/cgroup/sp-files

say "what this host does not have is refused, and nothing is left"
refused() { # WORD RESOURCES
    bundle /sp-files/one "$2" true
    said=$(oci create --bundle "$scratch" one 2>&1 </dev/null) && fail "it was accepted: $2"
    [[ $said == *"$1"* ]] || fail "of $2 it says: $said"
    [ ! -e /sys/fs/cgroup/sp-files/one ] || fail "its cgroup is left"
}
refused hugetlb '{ "hugepageLimits": [ { "pageSize": "3MB", "limit": 3145728 } ] }'
refused realtime '{ "cpu": { "realtimeRuntime": 1000, "realtimePeriod": 10000 } }'
refused net_cls '{ "network": { "classID": 5 } }'
refused memory.swap '{ "memory": { "limit": 67108864, "swap": 33554432 } }'
refused nonsense '{ "unified": { "memory.nonsense": "1" } }'
rmdir /sys/fs/cgroup/sp-files

say "systemd: a scope with its limits"
slow='trap : TERM; (echo >/dev/null) && echo null; mknod /dev/disk b 8 0; head -c 1 /dev/disk 2>/dev/null || echo no disk; while :; do sleep 1; done'
bundle spvm.slice:oci:two '{
    "memory": { "limit": 67108864, "swap": 67108864 }, "cpu": { "shares": 512, "quota": 12345, "period": 50000, "cpus": "1" },
    "pids": { "limit": 40 }, "unified": { "memory.high": "50331648" },
    "devices": [ { "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" } ] }' \
    "$slow" '"org.systemd.property.TimeoutStopSec": "7", "org.systemd.property.Documentation": "['"'"'man:true'"'"']"'
oci --systemd-cgroup create --bundle "$scratch" --pid-file "$scratch/pid" two >"$scratch/said" 2>&1 </dev/null || fail "$(cat "$scratch/said")"
unit=oci-two.scope
two=$(group "$(line "$scratch/pid")")
is "its cgroup" "$two" "/sys/fs/cgroup/spvm.slice/$unit"
is "what systemd has of it" "$(systemctl show -p ActiveState,Slice,Delegate,MemoryMax,MemoryHigh,MemorySwapMax,TasksMax,CPUWeight,CPUQuotaPerSecUSec,CPUQuotaPeriodUSec,AllowedCPUs,DevicePolicy,TimeoutStopUSec,Documentation $unit | sort | tr '\n' ' ')" \
    "ActiveState=active AllowedCPUs=1 CPUQuotaPerSecUSec=250ms CPUQuotaPeriodUSec=50ms CPUWeight=59 Delegate=yes DevicePolicy=strict Documentation=man:true MemoryHigh=50331648 MemoryMax=67108864 MemorySwapMax=0 Slice=spvm.slice TasksMax=40 TimeoutStopUSec=7s "
is "cpu.max, to the microsecond" "$(line "$two/cpu.max")" "12345 50000"
is memory.max "$(line "$two/memory.max")" 67108864
is cpuset.cpus "$(line "$two/cpuset.cpus")" 1
is "those in it" "$(line "$two/cgroup.procs")" "$(line "$scratch/pid")"
oci start two
until_true grep -q disk "$scratch/said"
is "what it could do with devices" "$(<"$scratch/said")" $'null\nno disk'
is "where a further process of it is" "$(oci exec two cat /proc/self/cgroup </dev/null)" "0::/spvm.slice/$unit"

say "systemd: limits that are changed stay so when it reads its units again"
oci update --memory 50331648 --memory-swap 50331648 --pids-limit 30 --cpu-quota 20000 --cpu-period 50000 --cpuset-cpus 0-1 two
systemctl daemon-reload
# Makes systemd go through the cgroups of the slice.
systemctl set-property --runtime spvm.slice MemoryMax=1G
is "memory.max then" "$(line "$two/memory.max")" 50331648
is "memory.high then" "$(line "$two/memory.high")" 50331648
is "pids.max then" "$(line "$two/pids.max")" 30
is "cpu.max then" "$(line "$two/cpu.max")" "20000 50000"
is "cpuset.cpus then" "$(line "$two/cpuset.cpus")" 0-1
is "MemoryMax then" "$(shows MemoryMax $unit)" 50331648
is "a device then" "$(oci exec two sh -c 'echo x >/dev/null && (head -c 1 /dev/disk 2>/dev/null || echo no disk)' </dev/null)" "no disk"
oci pause two
is "frozen" "$(number "$two/cgroup.events" frozen)" 1
oci resume two
oci kill two KILL
until_true sh -c "[ \"\$('$scratch/setpoint-oci' --root '$scratch/records' state two | grep -c stopped)\" = 1 ]"
oci delete two
is "its unit" "$(shows LoadState $unit)" not-found
[ ! -e "$two" ] || fail "its cgroup is left"

say "systemd: one that names no cgroup, and one that is deleted while it runs"
bundle "" '{}' 'cat /proc/self/cgroup'
said=$(oci --systemd-cgroup run --bundle "$scratch" three </dev/null)
is "its cgroup" "$said" "0::/system.slice/setpoint-three.scope"
is "its unit" "$(shows LoadState setpoint-three.scope)" not-found
bundle machine.slice:oci:three '{}' 'sleep 1000'
oci --systemd-cgroup run --detach --bundle "$scratch" three </dev/null >/dev/null 2>&1
is "its unit" "$(shows ActiveState oci-three.scope)" active
oci delete --force three
is "its unit then" "$(shows LoadState oci-three.scope)" not-found

say "systemd: mistakes are told, and nothing is left"
wrong() { # WORD PATH ANNOTATIONS
    bundle "$2" '{}' true "${3-}"
    said=$(oci --systemd-cgroup create --bundle "$scratch" three 2>&1 </dev/null) && fail "it was accepted: $2 ${3-}"
    [[ $said == *"$1"* ]] || fail "of $2 ${3-} it says: $said"
    [ ! -e "$scratch/records/three" ] || fail "a record is left"
}
wrong slice:prefix:name /a/path
wrong .slice system:oci:three
wrong TimeoutStopSec machine.slice:oci:three '"org.systemd.property.TimeoutStopSec": "soon"'
wrong NoSuchThing machine.slice:oci:three '"org.systemd.property.NoSuchThing": "5"'
is "the unit of the last" "$(shows LoadState oci-three.scope)" not-found

say "podman, as it comes"
mkdir -p "$scratch/rootfs/etc" "$scratch/rootfs/run"
podman run -d --name w --network none --memory 64m --pids-limit 60 --cpus 0.5 --rootfs "$scratch/rootfs" sleep 1000 >"$scratch/id"
w=/sys/fs/cgroup/machine.slice/libpod-$(line "$scratch/id").scope
# It hands a group to the container's process.
inner=$(find "$w" -mindepth 1 -maxdepth 1 -type d | head -n 1)
is "memory.max" "$(line "$w/memory.max")" 67108864
is "pids.max" "$(line "$w/pids.max")" 60
is "cpu.max" "$(line "$w/cpu.max")" "50000 100000"
is "the unit" "$(shows ActiveState "${w##*/}")" active
is "its exec" "$(podman exec w echo in${inner:+})" in
podman rm -f -t 0 w >/dev/null
is "the unit then" "$(shows LoadState "${w##*/}")" not-found
