#!/bin/bash
# systemd.sh: the units of `systemd/` on a host with systemd, such as a fresh Debian 12 in a virtual machine. Expects
# `setpoint`, `systemd/` and `examples/` beside itself. Installs into /usr/local/bin and /etc: for hosts that are thrown away.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "$0")/common.sh"
unset -f setpoint
fail() {
    echo "FAILED: $*" >&2
    systemctl status --no-pager 'setpoint*' || true
    journalctl --no-pager -u setpoint | tail -n 30 || true
    exit 1
}
pid() { setpoint inspect --format '{{.State.Pid}}' "$1" 2>/dev/null; }
runs() { local pid; pid=$(pid "$1") && [ "${pid:-0}" -gt 0 ]; }

install -m 755 "$here/setpoint" /usr/local/bin/setpoint
install -m 644 "$here"/systemd/setpoint*.* /etc/systemd/system/
mkdir -p /etc/setpoint
cp -a "$here/examples/limits" /etc/setpoint/manifests
sh "$here/examples/rootfs.sh" /etc/setpoint/manifests/rootfs
systemctl daemon-reload
systemd-analyze verify setpoint.service setpoint-containers.service setpoint.socket || fail "systemd finds fault with the units"

say "socket activation: the first command starts the daemon"
systemctl start setpoint.socket
! systemctl is-active -q setpoint.service || fail "the daemon runs before anybody asked"
setpoint version
until_true systemctl is-active -q setpoint.service
until_true runs manifests-client

say "the containers are in a unit of their own"
worker=$(pid manifests-worker)
unit=/setpoint.slice/setpoint-containers.service
id=$(setpoint ps -q --no-trunc --filter name=manifests-worker)
is "the cgroup of one" "$(line "/proc/$worker/cgroup")" "0::$unit/$id"
is "its memory.max" "$(line "/sys/fs/cgroup$unit/$id/memory.max")" $((64 << 20))
systemctl status --no-pager setpoint-containers.service >/var/tmp/status || fail "the unit is not active"
grep -q "$worker sleep inf" /var/tmp/status || fail "its status does not show the container: $(</var/tmp/status)"

say "a restart of the daemon disturbs no container, and health goes on"
setpoint run -d --name checked --network none --health-cmd 'echo "$(date +%s)" >/tmp/asked' --health-interval 1s \
    --health-start-interval 1s -m 48m localhost/limits:1 sleep inf >/dev/null
well() { [ "$(setpoint inspect --format '{{.State.Health.Status}}' checked)" = healthy ]; }
until_true well
checked=$(pid checked)
daemon=$(shows MainPID setpoint.service)
systemctl restart setpoint.service
[ "$(shows MainPID setpoint.service)" != "$daemon" ] || fail "it was not restarted"
is "the container" "$(pid manifests-worker) $(pid checked)" "$worker $checked"
kill -9 "$(shows MainPID setpoint.service)"
sleep 3
until_true systemctl is-active -q setpoint.service
is "the container after a crash of the daemon" "$(pid manifests-worker) $(pid checked)" "$worker $checked"
is "its memory.max" "$(line "/sys/fs/cgroup$unit/$id/memory.max")" $((64 << 20))

say "systemd reads its units again, and changes a slice: the limits stay"
systemctl daemon-reload
systemctl set-property --runtime setpoint.slice CPUWeight=200
is "its memory.max then" "$(line "/sys/fs/cgroup$unit/$id/memory.max")" $((64 << 20))
is "its pids.max then" "$(line "/sys/fs/cgroup$unit/$id/pids.max")" 50
is "its cpu.max then" "$(line "/sys/fs/cgroup$unit/$id/cpu.max")" "50000 100000"

say "containers in a slice, and below a path"
setpoint run -d --name sliced --network none --cgroup-parent vm-batch.slice -m 32m --restart always localhost/limits:1 sleep inf >/dev/null
sliced=$(pid sliced)
full=$(setpoint inspect --format '{{.Id}}' sliced)
scope=setpoint-$full.scope
is "its cgroup" "$(line "/proc/$sliced/cgroup")" "0::/vm.slice/vm-batch.slice/$scope/$full"
is "its memory.max" "$(line "/sys/fs/cgroup/vm.slice/vm-batch.slice/$scope/$full/memory.max")" $((32 << 20))
is "its unit" "$(shows ActiveState "$scope") $(shows Slice "$scope")" "active vm-batch.slice"
kill -9 "$sliced"
again() { local now; now=$(pid sliced) && [ "${now:-0}" -gt 0 ] && [ "$now" != "$sliced" ]; }
until_true again
is "its memory.max after a restart" "$(line "/sys/fs/cgroup/vm.slice/vm-batch.slice/$scope/$full/memory.max")" $((32 << 20))
is "its answer" "$(setpoint exec sliced echo here)" here
setpoint rm -f sliced >/dev/null
until_true test ! -e "/sys/fs/cgroup/vm.slice/vm-batch.slice/$scope"
is "its unit then" "$(shows LoadState "$scope")" not-found
setpoint run --rm --network none --cgroup-parent /vm-path/inner --cgroupns host localhost/limits:1 cat /proc/self/cgroup >/var/tmp/where
case $(</var/tmp/where) in 0::/vm-path/inner/*) ;; *) fail "below a path it is in $(</var/tmp/where)" ;; esac
rmdir /sys/fs/cgroup/vm-path/inner /sys/fs/cgroup/vm-path

say "the watchdog is fed"
sleep 35
is "restarts by systemd" "$(shows NRestarts setpoint.service)" 1

say "the container goes on when the service is stopped"
systemctl stop setpoint.service setpoint.socket
[ -d "/proc/$worker" ] || fail "the container was stopped with the service"
is "the container without the service" "$(pid manifests-worker)" "$worker"
asked() { [ "$(setpoint exec checked cat /tmp/asked)" -gt "$1" ]; }
until_true asked "$(date +%s)"
setpoint system reset --force --volumes
[ ! -d "/proc/$worker" ] || fail "the container outlived a reset"
left=$(find "/sys/fs/cgroup$unit" -mindepth 1 -type d ! -name held | head -n 3)
[ -z "$left" ] || fail "cgroups are left: $left"
say "all is well"
