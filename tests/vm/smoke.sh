#!/bin/bash
# smoke.sh: the main job on a pure cgroup v2 host, such as a fresh Debian 12 in a virtual machine. Expects `setpoint` and a
# copy of `examples/` beside itself, and busybox-static and nftables installed. Removes what it made. It makes few processes:
# emulated machines start each in a tenth of a second.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d /var/tmp/smoke.XXXXXX)
export SETPOINT_STATE_DIR=$scratch/state SETPOINT_RUN_DIR=$scratch/run
setpoint() { "$here/setpoint" "$@"; }
say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
finish() {
    code=$?
    [ $code = 0 ] || { setpoint ps -a || true; setpoint status || true; }
    setpoint system reset --force --volumes || code=1
    left=$(find /sys/fs/cgroup -type d -name 'setpoint-*' | head -n 3)
    [ -z "$left" ] || { echo "FAILED: cgroups are left: $left" >&2; code=1; }
    rm -rf "$scratch"
    [ $code = 0 ] && say "all is well"
    exit $code
}
trap finish EXIT
is() { [ "$2" = "$3" ] || fail "$1 is '$2' and not '$3'"; }
pid() { setpoint inspect "$1" | sed -n 's/^ *"pid": \([0-9]*\),*$/\1/p' | head -n 1; }

[ -e /sys/fs/cgroup/cgroup.controllers ] || fail "this is no pure cgroup v2 host"
say "$(setpoint --version) on $(uname -r)"
cp -a "$here/examples" "$scratch/examples"
sh "$scratch/examples/rootfs.sh" "$scratch/examples/hello/rootfs"
[ -e "$scratch/examples/limits/rootfs" ] || cp -a "$scratch/examples/hello/rootfs" "$scratch/examples/limits/rootfs"

say "limits: apply"
setpoint apply "$scratch/examples/limits"
setpoint plan "$scratch/examples/limits" || fail "a second plan has something to do"
worker=$(pid limits-worker)
group=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$worker/cgroup")
is memory.max "$(cat "$group/memory.max")" $((64 << 20))
is pids.max "$(cat "$group/pids.max")" 50
client=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(pid limits-client)/cgroup")
is "pids.max of one that says nothing" "$(cat "$client/pids.max")" 2048
say "limits: the program of the process that owns a container cannot be written to"
monitor=$(sed -n 's/^PPid:\t//p' "/proc/$worker/status")
case $(readlink "/proc/$monitor/exe") in /memfd:*) fail "it is a copy in memory and not an overlay" ;; esac
! sh -c ": >>/proc/$monitor/exe" 2>/dev/null || fail "it can be written to"
is cpu.max "$(cat "$group/cpu.max")" "50000 100000"
say "limits: a process that takes too much memory is killed, the host goes on"
is "bytes held in 16 MB" "$(setpoint run --rm -m 16m localhost/limits:1 sh -c 'head -c 200000000 /dev/zero | tail -n 1 | wc -c')" 0
say "limits: devices are those that are allowed"
setpoint run --rm --network none --cap-add MKNOD localhost/limits:1 sh -c 'echo x >/dev/null; mknod /tmp/disk b 8 0; ! head -c 1 /tmp/disk' ||
    fail "a device beyond the default ones"
setpoint destroy "$scratch/examples/limits"

say "hello: apply"
setpoint apply "$scratch/examples/hello"
page() { exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && cat <&3; exec 3<&-; }
said=
for _ in 1 2 3 4 5 6 7 8 9 10; do
    said=$(page) && [[ $said == *"Hello from setpoint"*UTC* ]] && break
    sleep 1
done
[[ $said == *"Hello from setpoint"*UTC* ]] || fail "the page says: $said"

say "hello: a killed container comes back"
before=$(pid hello-web)
kill -9 "$before"
for _ in $(seq 30); do
    now=$(pid hello-web)
    [ -n "$now" ] && [ "$now" != "$before" ] && break
    sleep 1
done
{ [ -n "$now" ] && [ "$now" != "$before" ]; } || fail "hello-web has not come back"
is "exit code of exec" "$(setpoint exec hello-web sh -c 'exit 5'; echo $?)" 5
setpoint stop -t 0 hello-web
setpoint destroy "$scratch/examples/hello"
is "containers left" "$(setpoint ps -aq)" ""
