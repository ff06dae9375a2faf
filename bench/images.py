"""Images: how long they take to come, to go, to be made and to be found, and what memory a pull takes."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import pathlib
import random
import shutil
import subprocess
import tarfile
import time
import urllib.request

from common import daemon, docker, process, wait_for

REGISTRY = "127.0.0.1:5000"
LAYERS, LAYER_BYTES = 5, 100 << 20
PULLED = f"{REGISTRY}/bench/big:1"
ROUNDS = 3
STORED = [1, 100, 1000]


class Registry:
    """Debian's docker-registry on loopback, which can be emptied."""

    def __init__(self, bench, name):
        self.bench, self.folder = bench, bench.folder / name
        self.folder.mkdir()
        self.running = None
        config = {"version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}},
                  "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}}, "http": {"addr": REGISTRY}}
        (self.folder / "config.yml").write_text(json.dumps(config))

    def start(self):
        self.running = contextlib.ExitStack()
        argv = ["docker-registry", "serve", str(self.folder / "config.yml")]
        self.running.enter_context(process(argv, self.bench.env, self.bench.log))

        def answers():
            with contextlib.suppress(OSError):
                return urllib.request.urlopen(f"http://{REGISTRY}/v2/", timeout=5).status == 200

        wait_for("the registry answers", answers)

    def stop(self):
        if self.running:
            self.running.close()
        self.running = None

    def empty(self):
        self.stop()
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        self.start()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()


def made_up_layer(number):
    """A gzipped tar of about LAYER_BYTES: many small files and some big ones, half of them text, always the same."""
    dice = random.Random(number)
    words = [bytes(dice.choices(b"abcdefghijklmnopqrstuvwxyz", k=dice.randint(2, 10))) for _ in range(4000)]
    text = b" ".join(dice.choices(words, k=900_000))
    noise = dice.randbytes(4 << 20)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as tar:
        written, file = 0, 0
        while written < LAYER_BYTES:
            size = dice.randint(4 << 20, 12 << 20) if file % 500 == 499 else int(dice.lognormvariate(8.5, 1.4))
            source = text if dice.random() < 0.6 else noise
            start = dice.randrange(len(source))
            content = (source[start:] + source * (size // len(source) + 1))[:size]
            if file % 40 == 0:
                folder = tarfile.TarInfo(f"layer{number}/{file // 40}")
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(folder)
            entry = tarfile.TarInfo(f"layer{number}/{file // 40}/{file}")
            entry.size, entry.mtime = size, 1_700_000_000
            tar.addfile(entry, io.BytesIO(content))
            written, file = written + size, file + 1
    return plain.getvalue(), file


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def make_image(bench):
    """The image that is pulled, as a layout that skopeo copies into the registry."""
    layout = bench.folder / "layout"
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)

    def add(content, media_type):
        (blobs / digest(content)[7:]).write_bytes(content)
        return {"mediaType": media_type, "digest": digest(content), "size": len(content)}

    layers, diff_ids, files, plain_bytes, packed_bytes = [], [], 0, 0, 0
    for number in range(LAYERS):
        plain, count = made_up_layer(number)
        packed = gzip.compress(plain, 6, mtime=0)
        layers.append(add(packed, "application/vnd.oci.image.layer.v1.tar+gzip"))
        diff_ids.append(digest(plain))
        files, plain_bytes, packed_bytes = files + count, plain_bytes + len(plain), packed_bytes + len(packed)
    config = {"architecture": bench.architecture(), "os": "linux", "config": {"Cmd": ["true"]},
              "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    config = add(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": layers}
    manifest = add(json.dumps(manifest).encode(), manifest_type)
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    bench.facts["the image"] = (f"{plain_bytes / 1e6:.0f} MB in {LAYERS} layers and {files} files, "
                                f"{packed_bytes / 1e6:.0f} MB as gzip")
    return layout


def publish(bench, layout):
    # In Docker's form, which all of them read.
    bench.quiet(["skopeo", "--insecure-policy", "copy", "--quiet", "--format", "v2s2", "--dest-tls-verify=false",
                 f"oci:{layout}:1", f"docker://{PULLED}"])


def podman(bench):
    """Podman with roots of its own, or nothing."""
    if not bench.has("podman"):
        print("podman is not installed: left out")
        return None
    folder = bench.folder / "podman"
    folder.mkdir()
    (folder / "containers.conf").write_text('[engine]\nlock_type = "file"\n')
    roots = f'graphroot = "{folder}/root"\nrunroot = "{folder}/runroot"\n'
    (folder / "storage.conf").write_text(f'[storage]\ndriver = "overlay"\n{roots}')
    (folder / "registries.conf").write_text(f'[[registry]]\nlocation = "{REGISTRY}"\ninsecure = true\n')
    bench.env |= {"CONTAINERS_CONF": str(folder / "containers.conf"), "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
                  "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf")}
    # Where it unpacks what it loads.
    bench.env["TMPDIR"] = str(folder)
    return ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/runroot", "--tmpdir", f"{folder}/tmp",
            "--cgroup-manager", "cgroupfs", "--events-backend", "file"]


def settle(_):
    """What was written before is not to be paid for by the next."""
    os.sync()


def measure(bench, floor):
    """Images beside docker and podman, and pulls beside a program that does the least."""
    layout = make_image(bench)
    # Podman and Docker keep things of this boot there whatever they are told; here it is ours.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    with docker(bench) as has_docker, Registry(bench, "registry") as registry:
        publish(bench, layout)
        has_podman = podman(bench)
        programs = {"setpoint": [bench.setpoint]}
        if has_docker:
            programs["docker"] = ["docker"]
        if has_podman:
            programs["podman"] = has_podman

        def each(*words, but=()):
            return {name: [*argv, *words] for name, argv in programs.items() if name not in but}

        pulls(bench, each, floor)
        for argv in each("pull", "-q", PULLED).values():
            bench.quiet(argv)
        bench.row("push of it into an empty registry", each("push", "-q", PULLED), ROUNDS, before=lambda _: registry.empty())
        registry.empty()
        publish(bench, layout)
        archives(bench, each)
        commits(bench, each)
    store(bench)


def pulls(bench, each, floor):
    away = each("rmi", PULLED)
    commands = each("pull", "-q", PULLED)
    if floor:
        unpacked = bench.folder / "floor"
        commands["floor"] = [floor, REGISTRY, "bench/big", "1", unpacked]
        away["floor"] = lambda: shutil.rmtree(unpacked)
    else:
        print("no --floor: left out")
    bench.row("pull of the image, no daemon", commands, ROUNDS, away, settle)
    bench.facts["pull, no daemon: most RSS"] = f"{most_memory(bench, [bench.setpoint, 'pull', '-q', PULLED]) / 1024:.1f} MiB"
    bench.quiet([bench.setpoint, "rmi", PULLED])
    with daemon(bench) as child:
        bench.row("the same by a daemon", {"setpoint": commands["setpoint"]}, ROUNDS, away, settle)
        pathlib.Path(f"/proc/{child.pid}/clear_refs").write_text("5")
        peaks, after = [], []
        for _ in range(3):
            bench.quiet([bench.setpoint, "pull", "-q", PULLED])
            peaks.append(status(child.pid, "VmHWM"))
            after.append(status(child.pid, "VmRSS"))
            bench.quiet([bench.setpoint, "rmi", PULLED])
        bench.facts["pulls in a row, daemon: most RSS"] = ", ".join(f"{kb / 1024:.1f} MiB" for kb in peaks)
        bench.facts["pulls in a row, daemon: RSS after"] = ", ".join(f"{kb / 1024:.1f} MiB" for kb in after)


def most_memory(bench, argv):
    """The most kilobytes that a program had resident. What the kernel says at its end counts its parent's memory too."""
    child = subprocess.Popen(argv, env=bench.env, stdin=subprocess.DEVNULL, stdout=bench.log, stderr=bench.log)
    most = 0
    while child.poll() is None:
        # One that has just ended has no memory any more.
        with contextlib.suppress(OSError, StopIteration):
            most = max(most, status(child.pid, "VmHWM"))
        time.sleep(0.01)
    assert child.returncode == 0, argv
    return most


def status(pid, key):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key + ":")).split()[1])


def archives(bench, each):
    saved = bench.folder / "saved.tar"

    def gone():
        saved.unlink()

    saves = each("save", "-o", saved, PULLED)
    bench.row("save of it", saves, ROUNDS, {name: gone for name in saves}, settle)
    bench.quiet([bench.setpoint, "save", "-o", saved, PULLED])
    for argv in each("rmi", PULLED).values():
        bench.quiet(argv)
    bench.row("load of it", each("load", "-q", "-i", saved), ROUNDS, each("rmi", PULLED), settle)
    saved.unlink()


def commits(bench, each):
    """Of containers that have 100 MB of their own."""
    root, tar = bench.folder / "base", bench.folder / "base.tar"
    bench.quiet(["sh", pathlib.Path(__file__).resolve().parent.parent / "examples/rootfs.sh", root])
    bench.quiet(["tar", "-C", root, "-cf", tar, "."])
    image, made = "localhost/base:1", "localhost/made:1"
    work = "mkdir -p /work && for i in $(seq 100); do dd if=/dev/urandom of=/work/$i bs=1M count=1 2>/dev/null; done"
    for argv in each("import", "--change", "ENV PATH=/bin", tar, image).values():
        bench.quiet(argv)
    # Podman would need a network of its own kind to run one; it copies the same into a container that never ran.
    for argv in each("run", "--name", "work", "--network", "none", image, "sh", "-c", work, but=["podman"]).values():
        bench.quiet(argv)
    own = each("create", "--name", "work", "--network", "none", image, "true", but=["setpoint", "docker"])
    for name, argv in own.items():
        files = bench.folder / "work"
        files.mkdir()
        for number in range(100):
            (files / str(number)).write_bytes(os.urandom(1 << 20))
        bench.quiet(argv)
        bench.quiet(each("cp", files, "work:/work")[name])
    bench.row("commit of 100 MB changed", each("commit", "work", made), ROUNDS, each("rmi", made), settle)
    for argv in each("rm", "work").values():
        bench.quiet(argv)


def store(bench):
    """What it costs to list images and to find one, where there are more and more."""
    there = 0
    for count in STORED:
        bench.quiet([bench.setpoint, "load", "-q", "-i", many(bench, there, count)])
        there = count
        name = f"localhost/many/{count // 2}:1"
        bench.row(f"`images -q` of {count}, no daemon", {"setpoint": [bench.setpoint, "images", "-q"]})
        bench.row(f"`image inspect` of one of {count}, no daemon", {"setpoint": [bench.setpoint, "image", "inspect", name]})


def many(bench, start, end):
    """An archive of images that share a layer and are called by numbers."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    plain = plain.getvalue()
    archive = bench.folder / "many.tar"
    with tarfile.open(archive, "w") as tar:
        def add(name, content):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))

        listed = []
        for number in range(start, end):
            config = {"architecture": bench.architecture(), "os": "linux", "config": {"Labels": {"number": str(number)}},
                      "rootfs": {"type": "layers", "diff_ids": [digest(plain)]}}
            add(f"{number}.json", json.dumps(config).encode())
            listed.append({"Config": f"{number}.json", "RepoTags": [f"localhost/many/{number}:1"], "Layers": ["layer.tar"]})
        add("layer.tar", plain)
        add("manifest.json", json.dumps(listed).encode())
    return archive
