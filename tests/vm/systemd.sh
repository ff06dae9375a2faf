#!/bin/bash
# systemd.sh: the units of `systemd/` on a host with systemd, such as a fresh Debian 12 in a virtual machine. Expects
# `setpoint`, `systemd/` and `examples/` beside itself. Installs into /usr/local/bin and /etc: for hosts that are thrown away.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }
fail() {
    echo "FAILED: $*" >&2
    systemctl status --no-pager setpoint.service setpoint.socket || true
    journalctl --no-pager -u setpoint | tail -n 30 || true
    exit 1
}
pid() { setpoint inspect "$1" | sed -n 's/^ *"pid": \([0-9]*\),*$/\1/p' | head -n 1; }
until_true() { for _ in $(seq 60); do "$@" && return 0; sleep 1; done; fail "not within a minute: $*"; }
runs() { [ -n "$(pid "$1" 2>/dev/null)" ]; }

install -m 755 "$here/setpoint" /usr/local/bin/setpoint
install -m 644 "$here"/systemd/setpoint.{service,socket} /etc/systemd/system/
mkdir -p /etc/setpoint
cp -a "$here/examples/limits" /etc/setpoint/manifests
sh "$here/examples/rootfs.sh" /etc/setpoint/manifests/rootfs
systemctl daemon-reload
systemd-analyze verify setpoint.service setpoint.socket || fail "systemd finds fault with the units"

say "socket activation: the first command starts the daemon"
systemctl start setpoint.socket
! systemctl is-active -q setpoint.service || fail "the daemon runs before anybody asked"
setpoint version
until_true systemctl is-active -q setpoint.service
until_true runs manifests-client

say "a restart of the daemon disturbs no container"
worker=$(pid manifests-worker)
daemon=$(systemctl show -p MainPID --value setpoint.service)
systemctl restart setpoint.service
[ "$(systemctl show -p MainPID --value setpoint.service)" != "$daemon" ] || fail "it was not restarted"
[ "$(pid manifests-worker)" = "$worker" ] || fail "the container was restarted"
kill -9 "$(systemctl show -p MainPID --value setpoint.service)"
sleep 3
until_true systemctl is-active -q setpoint.service
[ "$(pid manifests-worker)" = "$worker" ] || fail "the container was restarted after a crash of the daemon"

say "the watchdog is fed"
sleep 35
[ "$(systemctl show -p NRestarts --value setpoint.service)" = 1 ] || fail "systemd restarted it more than once"

say "the container goes on when the service is stopped"
systemctl stop setpoint.service setpoint.socket
[ -d "/proc/$worker" ] || fail "the container was stopped with the service"
[ "$(pid manifests-worker)" = "$worker" ] || fail "the container is unknown without the service"
setpoint system reset --force --volumes
[ ! -d "/proc/$worker" ] || fail "the container outlived a reset"
say "all is well"
