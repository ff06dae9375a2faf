#!/bin/bash
# rootless.sh: an ordinary user on a host with systemd and pure cgroup v2: limits by delegation, the main job without a daemon,
# and the unit for users. Expects `setpoint`, `systemd/` and a copy of `examples/` beside itself, and the user `tester`, who lingers.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
id=$(id -u tester)
home=$(getent passwd tester | cut -d : -f 6)
as() { runuser -u tester -- env -C "$home" HOME="$home" USER=tester XDG_RUNTIME_DIR="/run/user/$id" PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin "$@"; }
setpoint() { as /usr/local/bin/setpoint "$@"; }
pid() { setpoint inspect "$1" | sed -n 's/^ *"pid": \([0-9]*\),*$/\1/p' | head -n 1; }
is() { [ "$2" = "$3" ] || fail "$1 is '$2' and not '$3'"; }
until_true() { for _ in $(seq 60); do "$@" && return 0; sleep 1; done; fail "not within a minute: $*"; }
finish() {
    code=$?
    if [ $code != 0 ]; then
        setpoint ps -a || true
        cat "/run/user/$id/setpoint/rootless/"*.log || true
        as systemctl --user status --no-pager || true
    fi
    exit $code
}
trap finish EXIT
until_true test -S "/run/user/$id/bus"
modprobe tun
chmod 666 /dev/net/tun
install -m 755 "$here/setpoint" /usr/local/bin/setpoint
cp -a "$here/examples" "$home/examples"
[ -e "$home/examples/limits/rootfs" ] || sh "$here/examples/rootfs.sh" "$home/examples/limits/rootfs"
[ -e "$home/examples/hello/rootfs" ] || cp -a "$home/examples/limits/rootfs" "$home/examples/hello/rootfs"
chown -R tester: "$home/examples"

say "limits, by delegation"
setpoint apply "$home/examples/limits"
setpoint plan "$home/examples/limits" || fail "a second plan has something to do"
worker=$(pid limits-worker)
own=$(sed -n 's/^0:://p' "/proc/$worker/cgroup")
case $own in /user.slice/user-$id.slice/user@$id.service/*) ;; *) fail "the container is in $own" ;; esac
group=/sys/fs/cgroup$own
is memory.max "$(cat "$group/memory.max")" $((64 << 20))
is pids.max "$(cat "$group/pids.max")" 50
is cpu.max "$(cat "$group/cpu.max")" "50000 100000"
is "the owner of the process" "$(stat -c %u "/proc/$worker")" "$id"
say "a process that takes too much memory is killed, the host goes on"
is "bytes held in 16 MB" "$(setpoint run --rm -m 16m localhost/limits:1 sh -c 'head -c 200000000 /dev/zero | tail -n 1 | wc -c')" 0
say "exec, logs, pause, stop"
is "what exec printed" "$(setpoint exec limits-worker sh -c 'echo $((6*7))')" 42
setpoint pause limits-worker
is "frozen" "$(sed -n 's/^frozen //p' "$group/cgroup.events")" 1
setpoint unpause limits-worker
setpoint logs limits-worker >/dev/null
setpoint destroy "$home/examples/limits"

say "a published port"
setpoint apply "$home/examples/hello"
page() { exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && cat <&3; exec 3<&-; }
said=
for _ in 1 2 3 4 5 6 7 8 9 10; do
    said=$(page) && [[ $said == *"Hello from setpoint"* ]] && break
    sleep 1
done
[[ $said == *"Hello from setpoint"* ]] || fail "the port answers '$said'"
setpoint destroy "$home/examples/hello"
setpoint system reset --force --volumes
until_true sh -c "! pgrep -u tester slirp4netns"

say "the unit for users"
as mkdir -p "$home/.config/systemd/user" "$home/.config/setpoint"
cp "$here/systemd/user/setpoint.service" "$home/.config/systemd/user/"
cp -a "$home/examples/limits" "$home/.config/setpoint/manifests"
chown -R tester: "$home/.config"
as systemctl --user daemon-reload
as systemctl --user start setpoint.service
until_true sh -c "[ -S /run/user/$id/setpoint/setpoint.sock ]"
until_true sh -c "runuser -u tester -- env XDG_RUNTIME_DIR=/run/user/$id HOME=$home /usr/local/bin/setpoint ps | grep -q manifests-worker"
worker=$(pid manifests-worker)
is "memory.max of the daemon's container" "$(cat "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$worker/cgroup")/memory.max")" $((64 << 20))
say "a restart of the daemon disturbs no container"
as systemctl --user restart setpoint.service
is "the container's process" "$(pid manifests-worker)" "$worker"
as systemctl --user stop setpoint.service
[ -d "/proc/$worker" ] || fail "the container was stopped with the service"
is "exec without a daemon" "$(setpoint exec manifests-worker echo alone)" alone
setpoint system reset --force --volumes
[ ! -d "/proc/$worker" ] || fail "the container outlived a reset"
say "all is well"
