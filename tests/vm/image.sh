#!/bin/bash
# image.sh FOLDER: makes what boot.sh boots, once: FOLDER/{vmlinuz,initrd,root.img}, a Debian 12 with systemd on one disk, with
# a kernel of Debian's and of its modules those that containers need. Takes a minute or two, and some 250 MB from the mirror
# that this machine's packages come from. A change of this file makes it anew.
set -euo pipefail
[ $# = 1 ] || { sed -n 2,4p "$0" >&2; exit 2; }
here=$(realpath "$0")
mkdir -p "$1"
cd "$1"
stamp=$(sha256sum <"$here")
if [ "$(cat stamp 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi
# Two at a time would write over each other.
exec 9>lock
flock 9
[ "$(cat stamp 2>/dev/null)" != "$stamp" ] || exit 0
say() { printf 'image: [%3ds] %s\n' "$SECONDS" "$*"; }
suite=bookworm
packages=systemd-sysv,dbus,dbus-user-session,libpam-systemd,kmod,iproute2,nftables,busybox-static,procps,uidmap,slirp4netns
# Lets setpoint make its containers' processes, by systemd.
packages+=,podman,netavark
work=$(mktemp -d "$PWD/work.XXXXXX")
root=$work/root
trap 'rm -rf "$work"' EXIT

# A fresh machine knows of no packages yet.
apt-cache show linux-image-amd64 >/dev/null 2>&1 || apt-get -q update >/dev/null
mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v suite=$suite '$1 == suite && $2 == "main" { print $3; exit }')
say "debootstrap $suite"
mkdir -p debs
# In a mount namespace of its own, so that what it mounts while it works is gone however it ends.
# shellcheck disable=SC2086 # no mirror is no argument
unshare --mount debootstrap --variant=minbase --cache-dir="$PWD/debs" --include=$packages $suite "$root" $mirror >debootstrap.log 2>&1 ||
    { tail -n 20 debootstrap.log >&2; exit 1; }

kernel=$(apt-cache depends --no-recommends --no-suggests linux-image-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
version=${kernel#linux-image-}
say "kernel $version"
if [ ! -e "$(echo "debs/$kernel"_*.deb)" ]; then
    # As root, because the download folder is not open to the user that apt would otherwise become.
    (cd debs && apt-get -q -o APT::Sandbox::User=root download "$kernel" >/dev/null)
fi
dpkg-deb -x "debs/$kernel"_*.deb "$work/kernel"
cp "$work/kernel/boot/vmlinuz-$version" vmlinuz
from=$work/kernel/lib/modules/$version
to=$root/lib/modules/$version
mkdir -p "$to"
cp "$from"/modules.{builtin,builtin.modinfo,order} "$to"
for part in crypto lib arch/x86/crypto block fs/{overlayfs,ext4,jbd2,mbcache.ko,autofs} drivers/{virtio,block/virtio_blk.ko} \
    drivers/net/{veth,dummy,tun}.ko net/{netfilter,ipv4,ipv6,bridge,802,llc,8021q,packet,unix,netlink}; do
    [ ! -e "$from/kernel/$part" ] || (cd "$from" && cp -a --parents "kernel/$part" "$to")
done
chroot "$root" depmod "$version"

say "settings"
echo vm >"$root/etc/hostname"
printf '127.0.0.1 localhost vm\n' >"$root/etc/hosts"
: >"$root/etc/fstab"
: >"$root/etc/resolv.conf"
echo "$stamp" | head -c 32 >"$root/etc/machine-id"
echo >>"$root/etc/machine-id"
units=$root/etc/systemd/system
mkdir -p "$units/multi-user.target.wants"
# Nobody logs in, and nothing is worth keeping: what takes time and serves neither is left out.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    getty.target getty@tty1.service serial-getty@ttyS0.service systemd-timesyncd.service systemd-hwdb-update.service \
    systemd-random-seed.service systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-pstore.service \
    systemd-journal-flush.service systemd-journal-catalog-update.service systemd-firstboot.service \
    systemd-machine-id-commit.service ldconfig.service sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount \
    dev-mqueue.mount; do
    ln -sf /dev/null "$units/$unit"
done
ln -sf /lib/systemd/system/multi-user.target "$units/default.target"
# The second disk is a tar of what is to be tested; the second serial line is what it says.
cat >"$root/usr/local/sbin/vm-job" <<'X'
#!/bin/bash
exec </dev/null >/dev/ttyS1 2>&1
ip link set lo up
mkdir -p /var/tmp/job && cd /var/tmp/job && tar -xf /dev/vdb && ./job
echo "vm-job: $?"
X
chmod 755 "$root/usr/local/sbin/vm-job"
cat >"$units/vm-job.service" <<'X'
[Unit]
Description=What this machine was booted for
After=multi-user.target dbus.service
[Service]
Type=oneshot
Delegate=yes
TasksMax=infinity
Environment=HOME=/root
ExecStart=/usr/local/sbin/vm-job
ExecStopPost=/bin/sh -c 'sync; echo o >/proc/sysrq-trigger'
X
ln -sf ../vm-job.service "$units/multi-user.target.wants/vm-job.service"
# An ordinary user with subordinate ids, whose service manager runs without a session.
chroot "$root" useradd --create-home --shell /bin/bash tester
grep -q '^tester:' "$root/etc/subuid" || chroot "$root" usermod --add-subuids 100000-165535 --add-subgids 100000-165535 tester
mkdir -p "$root/var/lib/systemd/linger"
: >"$root/var/lib/systemd/linger/tester"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale,info}/*
rm -f "$root"/usr/lib/udev/hwdb.bin "$root"/etc/udev/hwdb.bin

say "initrd"
early=$work/early
mkdir -p "$early"/{bin,dev,proc,sys,root,modules}
cp "$root/bin/busybox" "$early/bin/busybox"
ln -s busybox "$early/bin/sh"
for module in virtio_pci virtio_blk ext4; do
    chroot "$root" modprobe -S "$version" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
done | awk '!seen[$0]++' >"$work/early-modules"
while read -r file; do
    cp "$root$file" "$early/modules/"
    basename "$file"
done <"$work/early-modules" >"$early/order"
cat >"$early/init" <<'X'
#!/bin/sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
while read -r module; do $b insmod "/modules/$module"; done </order
until [ -b /dev/vda ]; do $b usleep 20000; done
$b mount -t ext4 -o noatime /dev/vda /root && $b mount --move /dev /root/dev && exec $b switch_root /root /sbin/init
X
chmod 755 "$early/init"
(cd "$early" && find . | "$root/bin/busybox" cpio -o -H newc 2>/dev/null | gzip -1) >initrd

say "disk"
rm -f root.img
truncate -s 3G root.img
mkfs.ext4 -q -F -m 0 -E lazy_itable_init=1,lazy_journal_init=1 -d "$root" root.img
echo "$stamp" >stamp
say "made $(du -h root.img | cut -f1) in $PWD"
