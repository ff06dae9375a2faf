#!/bin/sh
# demo.sh [--clean] SETPOINT: runs examples/hello without a daemon, in an instance of its own, and shows what happens.
# All that it makes is in target/demo, /run/setpoint-demo-* and examples/hello/rootfs; --clean removes it.
set -eu
cd "$(dirname "$0")/.."
clean=
[ "${1:-}" != --clean ] || { clean=yes; shift; }
setpoint=$PWD/${1:-target/release/setpoint}
export SETPOINT_STATE_DIR="${SETPOINT_STATE_DIR:-$PWD/target/demo}"
# Two checkouts are two instances; and the path of a socket must be short, which this folder's may not be.
export SETPOINT_RUN_DIR="${SETPOINT_RUN_DIR:-/run/setpoint-demo-$(printf %s "$PWD" | cksum | cut -d ' ' -f 1)}"
# Another port than the manifest's default: PORT=8090 make demo
port=${PORT:-8080}
[ "$(id -u)" = 0 ] || { echo "Containers need root: run this as root." >&2; exit 1; }

if [ -n "$clean" ]; then
    "$setpoint" system reset --force --volumes
    rm -rf "$SETPOINT_STATE_DIR" "$SETPOINT_RUN_DIR" examples/hello/rootfs
    echo "The demonstration is gone."
    exit 0
fi

step() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
plain() { printf '\n$ %s\n' "$*"; }
[ -t 1 ] || step() { plain "$@"; }

echo "An instance of its own: state in $SETPOINT_STATE_DIR, run-time files in $SETPOINT_RUN_DIR."
step "examples/rootfs.sh examples/hello/rootfs    # an image out of this machine's busybox"
examples/rootfs.sh examples/hello/rootfs

step "setpoint plan examples/hello"
code=0
"$setpoint" plan examples/hello || code=$?
case $code in
0) echo "(it stands already)" ;;
2) ;;
*) exit "$code" ;;
esac

step "setpoint apply examples/hello"
"$setpoint" apply examples/hello

step "setpoint status"
"$setpoint" status

step "setpoint ps"
"$setpoint" ps

step "curl http://127.0.0.1:$port/"
curl --silent --show-error --fail --retry 20 --retry-delay 1 --retry-connrefused --max-time 10 "http://127.0.0.1:$port/"

step "setpoint plan examples/hello                # nothing left to do"
"$setpoint" plan examples/hello

echo
echo "The containers go on without any daemon. To remove them and all that belongs to them: make demo-clean"
