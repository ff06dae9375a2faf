"""Containers: how long they take to start, to be entered and to be applied, and what they take."""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess

from common import HERE, IMAGE, daemon, docker, memory

CONTAINERS = 20


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


def compose_file(bench):
    folder = bench.folder / "stack"
    folder.mkdir()
    services = {f"s{i}": {"image": IMAGE, "command": ["sleep", "inf"], "stop_grace_period": "0s"} for i in range(CONTAINERS)}
    path = folder / "compose.yaml"
    # JSON is YAML.
    path.write_text(json.dumps({"services": services}, indent=1))
    return path


def measure(bench):
    """Containers beside docker, docker-compose and crun."""
    setpoint = bench.setpoint
    bench.quiet(["sh", HERE.parent / "examples/rootfs.sh", bench.folder / "rootfs"])
    tar = bench.folder / "rootfs.tar"
    bench.quiet(["tar", "-C", bench.folder / "rootfs", "-cf", tar, "."])
    bench.quiet([setpoint, "import", tar, IMAGE])
    compose = compose_file(bench)
    facts = bench.facts
    with docker(bench) as has_docker, crun(bench) as has_crun:
        if has_docker:
            bench.quiet(["docker", "import", "--change", "ENV PATH=/bin", tar, IMAGE])
            bench.quiet(["docker", "run", "-d", "--name", "bench", IMAGE, "sleep", "inf"])

        def commands(setpoint_argv, docker_argv=None, crun_argv=None):
            chosen = {"setpoint": [setpoint, *setpoint_argv]}
            if has_docker and docker_argv:
                chosen["docker"] = docker_argv
            if has_crun and crun_argv:
                chosen["crun"] = crun_argv
            return chosen

        run = ["run", "--rm", IMAGE, "true"]
        bare = ["run", "--rm", "--network", "none", IMAGE, "true"]
        crun_run = ["crun", "--root", bench.folder / "crun", "run", "-b", bench.folder / "bundle", f"{bench.folder.name}-run"]
        oci_run = [setpoint, "oci", "--root", bench.folder / "oci", "run", "-b", bench.folder / "bundle", f"{bench.folder.name}-run"]
        up = ["docker-compose", "-f", compose, "-p", "bench", "up", "-d"]
        down = {"docker": ["docker-compose", "-f", compose, "-p", "bench", "down", "-t", "0"],
                "setpoint": [setpoint, "destroy", compose]}
        apply = ["apply", compose]
        has_compose = has_docker and bench.has("docker-compose")

        bench.row("the program itself (`--version`)", {"setpoint": [setpoint, "--version"]})
        bench.row("`run --rm`, bridge network, no daemon", commands(run, ["docker", *run]))
        bench.row("`run --rm`, no network, no daemon", commands(bare, ["docker", *bare], crun_run))
        if has_crun:
            bench.row("`oci run` of a bundle", {"setpoint": oci_run, "crun": crun_run})
        bench.row(f"apply of {CONTAINERS} containers, no daemon", commands(apply, has_compose and up), 5, down)
        with daemon(bench) as child:
            facts["daemon, idle: RSS"] = f"{memory(child.pid)[0] / 1024:.1f} MiB"
            bench.row("`run --rm`, bridge network", commands(run, ["docker", *run]))
            bench.row("`run --rm`, no network", commands(bare, ["docker", *bare], crun_run))
            bench.quiet([setpoint, "run", "-d", "--name", "bench", IMAGE, "sleep", "inf"])
            exec_ = ["exec", "bench", "true"]
            bench.row("`exec`", commands(exec_, ["docker", *exec_], has_crun and [*has_crun, "true"]))
            bench.row(f"apply of {CONTAINERS} containers", commands(apply, has_compose and up), 5, down)
            for argv in commands(apply, has_compose and up).values():
                bench.quiet(argv)
            facts[f"daemon, {CONTAINERS + 1} containers: RSS"] = f"{memory(child.pid)[0] / 1024:.1f} MiB"
            each = [memory(pid) for pid in monitors(bench)]
            if each:
                facts["monitor each: PSS, median"] = f"{statistics.median(pss for _, pss in each) / 1024:.2f} MiB"
            bench.row(f"apply of {CONTAINERS} containers, nothing to do", commands(apply, has_compose and up), 5)
        bench.row("the same, no daemon", commands(apply, has_compose and up), 5)
    facts["the binary"] = f"{os.path.getsize(setpoint) / 2**20:.1f} MiB"
