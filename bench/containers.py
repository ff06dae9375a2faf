"""Containers: how long they take to start, to be entered and to be applied, and what they take."""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess

from common import IMAGE, daemon, docker, memory, rootfs

CONTAINERS = 20
# Bytes of output, in lines of 100.
LOGGED = 200_000_000
PARALLEL = 100
LISTED = (1, 100, 1000)


@contextlib.contextmanager
def crun(bench):
    """A bundle, and a container that runs, or nothing."""
    if not bench.has("crun"):
        print("crun is not installed: left out")
        yield False
        return
    bundle = bench.folder / "bundle"
    bundle.mkdir()
    (bundle / "rootfs").symlink_to(bench.folder / "rootfs")
    bench.quiet(["crun", "spec"], cwd=bundle)
    spec = json.loads((bundle / "config.json").read_text())
    spec["process"] |= {"terminal": False, "args": ["true"], "env": ["PATH=/bin"]}
    spec["root"] = {"path": str(bench.folder / "rootfs"), "readonly": True}
    (bundle / "config.json").write_text(json.dumps(spec))
    spec["process"]["args"] = ["sleep", "inf"]
    (bundle / "sleep.json").write_text(json.dumps(spec))
    name = f"{bench.folder.name}-sleep"
    crun = ["crun", "--root", str(bench.folder / "crun")]
    # Its output goes to the log, which the container then holds: a pipe would never end.
    bench.crun_thread.submit(bench.timed, [*crun, "run", "-d", "-b", bundle, "-f", bundle / "sleep.json", name]).result()
    try:
        yield [*crun, "exec", name]
    finally:
        bench.crun_thread.submit(subprocess.run, [*crun, "delete", "-f", name], env=bench.env).result()


def monitors(bench):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                argv = (entry / "cmdline").read_bytes().split(b"\0")
                environ = (entry / "environ").read_bytes()
                if b"@monitor" in argv[:3] and str(bench.folder).encode() in b" ".join(argv) + environ:
                    found.append(int(entry.name))
    return found


def shims(bench):
    """containerd's, of the dockerd of this bench."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                argv = (entry / "cmdline").read_bytes()
                if b"containerd-shim" in argv.split(b"\0")[0] and str(bench.folder).encode() in argv:
                    found.append(int(entry.name))
    return found


def compose_file(bench):
    folder = bench.folder / "stack"
    folder.mkdir()
    services = {f"s{i}": {"image": IMAGE, "command": ["sleep", "inf"], "stop_grace_period": "0s"} for i in range(CONTAINERS)}
    path = folder / "compose.yaml"
    # JSON is YAML.
    path.write_text(json.dumps({"services": services}, indent=1))
    return path


def commands(bench, setpoint_argv, docker_argv=None, crun_argv=None):
    """What is measured beside each other, by the name of who does it."""
    chosen = {"setpoint": [bench.setpoint, *setpoint_argv]}
    if docker_argv:
        chosen["docker"] = docker_argv
    if crun_argv:
        chosen["crun"] = crun_argv
    return chosen


def starts(bench, has_docker, has_crun, compose):
    """What it takes to start containers and to enter them, with and without the daemon."""
    setpoint, facts = bench.setpoint, bench.facts
    beside = lambda argv: has_docker and ["docker", *argv]
    run = ["run", "--rm", IMAGE, "true"]
    bare = ["run", "--rm", "--network", "none", IMAGE, "true"]
    crun_run = ["crun", "--root", bench.folder / "crun", "run", "-b", bench.folder / "bundle", f"{bench.folder.name}-run"]
    oci_run = [setpoint, "oci", "--root", bench.folder / "oci", "run", "-b", bench.folder / "bundle", f"{bench.folder.name}-run"]
    up = has_docker and bench.has("docker-compose") and ["docker-compose", "-f", compose, "-p", "bench", "up", "-d"]
    down = {"docker": ["docker-compose", "-f", compose, "-p", "bench", "down", "-t", "0"],
            "setpoint": [setpoint, "destroy", compose]}
    apply = ["apply", compose]

    bench.row("the program itself (`--version`)", {"setpoint": [setpoint, "--version"]})
    bench.row("`run --rm`, bridge network, no daemon", commands(bench, run, beside(run)))
    bench.row("`run --rm`, no network, no daemon", commands(bench, bare, beside(bare), has_crun and crun_run))
    if has_crun:
        bench.row("`oci run` of a bundle", {"setpoint": oci_run, "crun": crun_run})
    bench.row(f"apply of {CONTAINERS} containers, no daemon", commands(bench, apply, up), 5, down)
    with daemon(bench) as child:
        facts["daemon, idle: RSS"] = f"{memory(child.pid)[0] / 1024:.1f} MiB"
        bench.row("`run --rm`, bridge network", commands(bench, run, beside(run)))
        bench.row("`run --rm`, no network", commands(bench, bare, beside(bare), has_crun and crun_run))
        bench.quiet([setpoint, "run", "-d", "--name", "bench", IMAGE, "sleep", "inf"])
        exec_ = ["exec", "bench", "true"]
        bench.row("`exec`", commands(bench, exec_, beside(exec_), has_crun and [*has_crun, "true"]))
        bench.row(f"apply of {CONTAINERS} containers", commands(bench, apply, up), 5, down)
        for argv in commands(bench, apply, up).values():
            bench.quiet(argv)
        facts[f"daemon, {CONTAINERS + 1} containers: RSS"] = f"{memory(child.pid)[0] / 1024:.1f} MiB"
        processes = {"setpoint": monitors(bench), "docker": shims(bench) if has_docker else []}
        for name, pids in processes.items():
            if pids:
                pss = statistics.median(memory(pid)[1] for pid in pids) / 1024
                facts[f"what stays with each container, {name}: PSS, median"] = f"{pss:.2f} MiB"
        bench.row(f"apply of {CONTAINERS} containers, nothing to do", commands(bench, apply, up), 5)
    bench.row("the same, no daemon", commands(bench, apply, up), 5)
    for argv in [[setpoint, "destroy", compose], [setpoint, "rm", "-f", "bench"], *([down["docker"]] if up else [])]:
        bench.quiet(argv)


def logs(bench, has_docker):
    """Output through recorded logs, and read back from them. Nothing is rotated away, so that both keep the same."""
    lines = bench.folder / "lines"
    lines.mkdir()
    line = b"x" * 99 + b"\n"
    with open(lines / "file", "wb") as out:
        for _ in range(LOGGED // 100_000):
            out.write(line * 1000)
    size = ["--log-opt", "max-size=1g"]
    what = ["--name", "logged", "-v", f"{lines}:/lines:ro", IMAGE, "cat", "/lines/file"]
    drivers = {"setpoint": "file", "docker": "json-file"}
    programs = {"setpoint": bench.setpoint, "docker": "docker"} if has_docker else {"setpoint": bench.setpoint}

    def script(program, *then):
        return ["sh", "-c", " && ".join(f'"$0" {words}' for words in then), program]

    def forget(name):
        return lambda: bench.quiet([programs[name], "rm", "-f", "logged"])

    def run(name, *options):
        words = " ".join(map(str, ["run", "-d", *options, *what]))
        return script(programs[name], words + " >/dev/null", "wait logged >/dev/null")

    forgotten = {name: forget(name) for name in programs}
    recorded = {name: run(name, "--log-driver", drivers[name], *size) for name in programs}
    bench.row(f"{LOGGED // 10**6} MB of output, recorded", recorded, 5, forgotten)
    bench.row(f"{LOGGED // 10**6} MB of output, not recorded", {name: run(name, "--log-driver", "none") for name in programs}, 5, forgotten)
    for argv in recorded.values():
        bench.quiet(argv)
    read = {name: script(program, "logs logged >/dev/null") for name, program in programs.items()}
    bench.row(f"{LOGGED // 10**6} MB of logs, read back", read, 2)
    took = bench.rows[-1][1]
    for name in programs:
        bench.facts[f"logs read back, {name}"] = f"{LOGGED / 1e6 / (took[name] / 1000):.0f} MB/s"
        forgotten[name]()
    (lines / "file").unlink()


def many(bench, has_docker):
    """A hundred starts at once, and what looking at many containers takes."""
    programs = {"setpoint": bench.setpoint, "docker": "docker"} if has_docker else {"setpoint": bench.setpoint}

    def forget(name):
        program = programs[name]
        ids = bench.quiet([program, "ps", "-aq"]).split()
        for i in range(0, len(ids), 200):
            bench.quiet([program, "rm", "-f", *ids[i:i + 200]])

    def at_once(program, count, verb):
        words = f'seq {count} | xargs -P {count} -I% "$0" {verb} {IMAGE} sleep inf >/dev/null'
        return ["sh", "-c", words, program]

    def after(name):
        return lambda: forget(name)

    between = {name: after(name) for name in programs}
    starting = {name: at_once(program, PARALLEL, "run -d") for name, program in programs.items()}
    bench.row(f"{PARALLEL} containers started at once, bridge network", starting, 3, between)
    ps = {name: [program, "ps", "-a"] for name, program in programs.items()}
    for count in LISTED:
        for name, program in programs.items():
            have = len(bench.quiet([program, "ps", "-aq"]).split())
            making = f'seq {count - have} | xargs -P 4 -I% "$0" create {IMAGE} sleep inf >/dev/null'
            bench.quiet(["sh", "-c", making, program])
        bench.row(f"`ps -a` of {count:,} containers", ps, 10)
    for name in programs:
        forget(name)


def measure(bench):
    """Containers beside docker, docker-compose and crun."""
    tar = rootfs(bench)
    bench.quiet([bench.setpoint, "import", tar, IMAGE])
    compose = compose_file(bench)
    with docker(bench) as has_docker, crun(bench) as has_crun:
        if has_docker:
            bench.quiet(["docker", "import", "--change", "ENV PATH=/bin", tar, IMAGE])
            bench.quiet(["docker", "run", "-d", "--name", "bench", IMAGE, "sleep", "inf"])
        starts(bench, has_docker, has_crun, compose)
        if has_docker:
            bench.quiet(["docker", "rm", "-f", "bench"])
        with daemon(bench):
            logs(bench, has_docker)
            many(bench, has_docker)
    bench.facts["the binary"] = f"{os.path.getsize(bench.setpoint) / 2**20:.1f} MiB"
