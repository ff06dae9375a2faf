"""What an image is: its configuration and its files, in forms that can be compared."""

import hashlib
import os
import re
import stat
import tarfile

KEYS = ("Env", "Cmd", "Entrypoint", "WorkingDir", "User", "ExposedPorts", "Volumes", "Labels", "OnBuild", "StopSignal", "Healthcheck",
        "Shell")
# What commands write anew with the time in it, or at random: of these files only kind, mode and owner are compared.
VOLATILE = re.compile("|".join((
    r"var/log/.*", r"var/cache/.*", r"var/lib/apt/lists/.*", r"var/lib/dpkg/.*-old", r"etc/.*-", r"var/backups/.*",
    r".*\.pyc", r"(.*/)?\.npm/.*", r"root/\.cache/.*", r"etc/machine-id", r"var/lib/dbus/machine-id",
    r"etc/ssl/(certs|private)/ssl-cert-snakeoil\.(pem|key)", r"etc/ssh/ssh_host_.*", r".*\.yarn-integrity", r".*/\.package-lock\.json",
    # The days since 1970 when a password was set.
    r"etc/g?shadow")))
# What has a name that is another each time.
NAMED_ANEW = re.compile(r"(.*/)?\.npm/_logs/.*|(.*/)?_cacache/.*|tmp/.*|(.*/)?node_modules/\.cache/.*|var/lib/apt/periodic/.*")
# What buildah leaves in every image in which it has run something, or has only looked.
LEFT = {"dev", "proc", "sys", "run", "etc", "etc/hosts", "etc/resolv.conf", "etc/hostname", "run/secrets", "run/.containerenv", "tmp"}


def configurations(ours, theirs):
    """The differences of two configurations. That something is empty and that it is not there are the same."""
    differences = []
    for key in ("Author", "Os", "Architecture"):
        mine, other = (whole.get(key) or whole.get(key.lower()) or None for whole in (ours, theirs))
        if mine != other:
            differences.append((f"config {key}", str(mine), str(other)))
    mine, other = (whole.get("Config") or whole.get("config") or {} for whole in (ours, theirs))
    for key in KEYS:
        pair = []
        for config in (mine, other):
            value = config.get(key) or None
            if key == "Labels" and value:
                value = {name: text for name, text in value.items() if name != "io.buildah.version"} or None
            if key == "Env" and value:
                value = sorted(value)
            pair.append(value)
        if pair[0] != pair[1]:
            differences.append((f"config {key}", str(pair[0]), str(pair[1])))
    return differences


def told(path, kind, mode, uid, gid, rest, attributes):
    more = "".join(f" {name}={value!r}" for name, value in sorted(attributes.items()))
    if kind == "file" and VOLATILE.fullmatch(path):
        rest = "(written anew each time)"
    return f"{kind} {mode & 0o7777:o} {uid}:{gid} {rest}".rstrip() + more


def of_folder(root):
    """All that is below a folder, by path. Of files that are one, each names the first."""
    found, first = {}, {}
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            inside = os.path.relpath(path, root)
            meta = os.lstat(path)
            attributes = {key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)}
            rest = ""
            if stat.S_ISDIR(meta.st_mode):
                kind = "folder"
            elif stat.S_ISLNK(meta.st_mode):
                kind, rest = "link", f"to {os.readlink(path)}"
            elif stat.S_ISREG(meta.st_mode):
                kind = "file"
                with open(path, "rb") as file:
                    rest = f"{meta.st_size} {hashlib.file_digest(file, 'sha256').hexdigest()}"
            else:
                kind, rest = "other", f"{stat.S_IFMT(meta.st_mode):o} {meta.st_rdev}"
            if kind != "folder" and meta.st_nlink > 1:
                first.setdefault((meta.st_dev, meta.st_ino), []).append(inside)
            found[inside] = told(inside, kind, meta.st_mode, meta.st_uid, meta.st_gid, rest, attributes)
    return joined(found, first.values())


def of_tar(path):
    """The same of a tar."""
    found, links, content = {}, {}, {}
    with tarfile.open(path) as tar:
        for entry in tar:
            inside = os.path.normpath(entry.name.lstrip("/"))
            if inside == ".":
                continue
            attributes = {key[len("SCHILY.xattr."):]: value.encode("utf-8", "surrogateescape")
                          for key, value in entry.pax_headers.items() if key.startswith("SCHILY.xattr.")}
            rest = ""
            if entry.isdir():
                kind = "folder"
            elif entry.issym():
                kind, rest = "link", f"to {entry.linkname}"
            elif entry.islnk():
                target = os.path.normpath(entry.linkname.lstrip("/"))
                links.setdefault(target, [target]).append(inside)
                found[inside] = None
                continue
            elif entry.isreg():
                kind = "file"
                digest = hashlib.sha256()
                with tar.extractfile(entry) as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
                rest = f"{entry.size} {digest.hexdigest()}"
            else:
                kind = "other"
                number = os.makedev(entry.devmajor, entry.devminor) if not entry.isfifo() else 0
                form = stat.S_IFIFO if entry.isfifo() else stat.S_IFCHR if entry.ischr() else stat.S_IFBLK
                rest = f"{form:o} {number}"
            content[inside] = (kind, entry.mode, entry.uid, entry.gid, rest, attributes)
            found[inside] = told(inside, *content[inside])
    for target, names in links.items():
        for name in names:
            found[name] = told(name, *content[target])
    return joined(found, links.values())


def joined(found, groups):
    for names in groups:
        if len(names) > 1:
            for name in names:
                found[name] += f" as {min(names)}"
    return found


def trees(ours, theirs):
    """The differences of two trees."""
    for path in LEFT - ours.keys():
        theirs.pop(path, None)
    ours, theirs = ({path: said for path, said in tree.items() if not NAMED_ANEW.fullmatch(path)} for tree in (ours, theirs))
    differing = sorted(path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path))
    return [(f"tree {path}", ours.get(path, "nothing"), theirs.get(path, "nothing")) for path in differing]
