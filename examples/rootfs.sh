#!/bin/sh
# rootfs.sh FOLDER: makes a small root file system from the machine's own static busybox, so that the examples need no
# registry. Leaves a folder alone that was made from the same busybox already: its times then stay, and with them the
# fingerprint by which an import is recognised.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
folder=$1
busybox=${BUSYBOX:-/bin/busybox}
[ -x "$busybox" ] || { echo "$0: $busybox is missing; on Debian: apt-get install busybox-static" >&2; exit 1; }
if cmp -s "$busybox" "$folder/bin/busybox" && [ -e "$folder/etc/group" ]; then
    exit 0
fi

if [ -e "$folder" ] && [ ! -e "$folder/bin/busybox" ]; then
    echo "$0: $folder is there and was not made by this script; give another folder" >&2
    exit 1
fi
rm -rf "$folder"
mkdir -p "$folder/bin" "$folder/etc" "$folder/root" "$folder/tmp" "$folder/var" "$folder/www/cgi-bin"
chmod 755 "$folder" "$folder/bin" "$folder/etc" "$folder/var" "$folder/www" "$folder/www/cgi-bin"
chmod 1777 "$folder/tmp"
chmod 700 "$folder/root"
cp "$busybox" "$folder/bin/busybox"
chmod 755 "$folder/bin/busybox"
for applet in $("$folder/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$folder/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$folder/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$folder/etc/group"
