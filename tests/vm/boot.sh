#!/bin/bash
# boot.sh IMAGE JOB: boots what image.sh made in the folder IMAGE, without touching it, and runs JOB/job in it as root from a
# unit, in a copy of the folder JOB. Prints what it prints, and exits as it does. VM_SECONDS is the most that it may take.
# The processor is emulated even where there is a /dev/kvm, because in a virtual machine that often promises more than it
# keeps: everything takes five to twenty times as long, and always works. VM_KERNEL are further words for the kernel.
set -euo pipefail
[ $# = 2 ] && [ -x "$2/job" ] || { sed -n 2,4p "$0" >&2; exit 2; }
image=$1
seconds=${VM_SECONDS:-900}
scratch=$(mktemp -d /tmp/spvm.XXXXXX)
qemu=
finish() {
    [ -z "$qemu" ] || kill "$qemu" 2>/dev/null || true
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 1' INT TERM
tar -C "$2" --owner=0 --group=0 -cf "$scratch/job.tar" .
: >"$scratch/said"
qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -nodefaults -no-user-config -display none -no-reboot \
    -kernel "$image/vmlinuz" -initrd "$image/initrd" \
    -append "console=ttyS0 root=/dev/vda rw quiet panic=-1 mitigations=off nokaslr net.ifnames=0 audit=0 apparmor=0 systemd.show_status=0 ${VM_KERNEL-}" \
    -drive "file=$image/root.img,if=none,id=root,format=raw,snapshot=on,cache=unsafe" -device virtio-blk-pci,drive=root \
    -drive "file=$scratch/job.tar,if=none,id=job,format=raw,readonly=on" -device virtio-blk-pci,drive=job \
    -serial "file:$scratch/console" -serial "file:$scratch/said" -device virtio-rng-pci </dev/null &
qemu=$!
# Shown as it comes, so that one sees where it stays.
tail -n +1 -f --pid="$qemu" "$scratch/said" 2>/dev/null | sed -u 's/\r//g' &
for ((i = 0; i < seconds * 5; i++)); do
    kill -0 "$qemu" 2>/dev/null || break
    sleep 0.2
done
if kill -0 "$qemu" 2>/dev/null; then
    echo "vm: not done within $seconds seconds" >&2
    kill "$qemu"
fi
wait "$qemu" 2>/dev/null || true
qemu=
wait
code=$(tr -d '\r' <"$scratch/said" | sed -n 's/^vm-job: //p' | tail -n 1)
if [ -z "$code" ]; then
    echo "vm: it said nothing of how it ended; the last of its console:" >&2
    tail -n 30 "$scratch/console" >&2
    exit 125
fi
exit "$code"
