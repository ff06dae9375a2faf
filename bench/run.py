#!/usr/bin/env python3
"""Measures setpoint beside docker, docker-compose and crun, all in one run on one machine.

usage: run.py SETPOINT [--rounds N] [--json FILE]

Runs in mount and network namespaces of its own, with a dockerd and roots of its own below /var/tmp, and removes all of it
at the end. Every row alternates between the programs, so that what else the machine does hits all of them alike; a figure
is the median. A program that is not installed is left out, and that is said.
"""

import argparse
import contextlib
import concurrent.futures
import ctypes
import datetime
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
IMAGE = "localhost/bench:1"
CONTAINERS = 20
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000


def unshare(flags):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        sys.exit(f"unshare: {os.strerror(ctypes.get_errno())}; run this as root")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def hide_unified_cgroups():
    """crun refuses hosts whose cgroup v2 folder beside v1 has controllers. The thread it is started from sees none."""
    unshare(CLONE_NEWNS)
    if os.path.ismount("/sys/fs/cgroup/unified"):
        subprocess.run(["umount", "/sys/fs/cgroup/unified"], check=True)


class Bench:
    def __init__(self, setpoint, rounds, folder):
        self.setpoint, self.rounds, self.folder = setpoint, rounds, folder
        self.log = open(folder / "log", "ab")
        self.env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder)}
        self.env |= {"SETPOINT_STATE_DIR": str(folder / "state"), "SETPOINT_RUN_DIR": str(folder / "run")}
        self.env |= {"DOCKER_HOST": f"unix://{folder}/docker.sock", "XDG_RUNTIME_DIR": str(folder)}
        self.rows = []
        self.crun_thread = concurrent.futures.ThreadPoolExecutor(1, initializer=hide_unified_cgroups)

    def quiet(self, argv, **more):
        """Runs what is not measured. Its output goes to the log, and its failure ends the bench."""
        done = subprocess.run(argv, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, **more)
        self.log.write(done.stdout)
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, argv))}: exit code {done.returncode}\n{done.stdout.decode(errors='replace')}")
        return done.stdout.decode()

    def timed(self, argv):
        """Milliseconds from spawn to end."""
        argv = [str(word) for word in argv]
        program = shutil.which(argv[0], path=self.env["PATH"]) or argv[0]
        to_log = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                  (os.POSIX_SPAWN_DUP2, self.log.fileno(), 1), (os.POSIX_SPAWN_DUP2, self.log.fileno(), 2)]
        start = time.perf_counter()
        pid = os.posix_spawn(program, argv, self.env, file_actions=to_log)
        _, status = os.waitpid(pid, 0)
        took = (time.perf_counter() - start) * 1000
        if status != 0:
            tail = pathlib.Path(self.log.name).read_text(errors="replace")[-2000:]
            sys.exit(f"{' '.join(argv)}: status {status}\n{tail}")
        return took

    def row(self, what, commands, rounds=None, between=None):
        """One line of the table: `commands` maps a program to its command. `between` is run, unmeasured, after each."""
        took = {name: [] for name in commands}
        # The first round warms caches and is not counted.
        for i in range((rounds or self.rounds) + 1):
            for name, argv in commands.items():
                ms = self.crun_thread.submit(self.timed, argv).result() if name == "crun" else self.timed(argv)
                if between and between.get(name):
                    self.quiet(between[name])
                if i > 0:
                    took[name].append(ms)
        self.rows.append((what, {name: statistics.median(all_) for name, all_ in took.items()}))
        print(".", end="", flush=True)


def wait_for(what, check, seconds=60):
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            sys.exit(f"not within {seconds} s: {what}")
        time.sleep(0.05)


@contextlib.contextmanager
def process(argv, env, log):
    child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def docker(bench):
    """A dockerd of our own, or nothing."""
    if not shutil.which("dockerd", path=bench.env["PATH"]):
        print("docker is not installed: left out")
        yield False
        return
    folder = bench.folder / "docker"
    folder.mkdir()
    # It writes to these whatever it is told; here they are ours.
    taken = [pathlib.Path("/etc/docker"), pathlib.Path("/run/docker")]
    made = [path for path in taken if not path.exists()]
    for path in taken:
        path.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(path)], check=True)
    argv = ["dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid",
            "--host", bench.env["DOCKER_HOST"], "--storage-driver", "overlay2", "--cgroup-parent", f"/{bench.folder.name}"]
    try:
        with process(list(map(str, argv)), bench.env, bench.log) as dockerd:
            def answers():
                if dockerd.poll() is not None:
                    sys.exit("dockerd ended:\n" + pathlib.Path(bench.log.name).read_text(errors="replace")[-3000:])
                return subprocess.run(["docker", "version"], env=bench.env, capture_output=True).returncode == 0
            wait_for("dockerd answers", answers)
            bench.quiet(["docker", "import", "--change", "ENV PATH=/bin", bench.folder / "rootfs.tar", IMAGE])
            bench.quiet(["docker", "run", "-d", "--name", "bench", IMAGE, "sleep", "inf"])
            try:
                yield True
            finally:
                ids = subprocess.run(["docker", "ps", "-aq"], env=bench.env, capture_output=True, text=True).stdout.split()
                if ids:
                    subprocess.run(["docker", "rm", "-f", *ids], env=bench.env, stdout=bench.log, stderr=bench.log)
    finally:
        for path in taken:
            subprocess.run(["umount", "-l", str(path)], check=False)
        for path in made:
            path.rmdir()


@contextlib.contextmanager
def crun(bench):
    """A bundle, and a container that runs, or nothing."""
    if not shutil.which("crun", path=bench.env["PATH"]):
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


@contextlib.contextmanager
def daemon(bench):
    manifests = bench.folder / "manifests"
    manifests.mkdir(exist_ok=True)
    (manifests / "network.yaml").write_text("apiVersion: setpoint/v1\nkind: Network\nmetadata: {name: bench}\nspec: {}\n")
    with process([bench.setpoint, "daemon", "--source", str(manifests)], bench.env, bench.log) as child:
        wait_for("the daemon answers", lambda: (bench.folder / "run/setpoint.sock").exists())
        time.sleep(1)
        yield child


def memory(pid):
    """Resident and proportional kilobytes of a process."""
    sizes = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split()[:2]
        sizes[name.rstrip(":")] = int(value)
    return sizes["Rss"], sizes["Pss"]


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
    setpoint = bench.setpoint
    bench.quiet(["sh", HERE.parent / "examples/rootfs.sh", bench.folder / "rootfs"])
    tar = bench.folder / "rootfs.tar"
    bench.quiet(["tar", "-C", bench.folder / "rootfs", "-cf", tar, "."])
    bench.quiet([setpoint, "import", tar, IMAGE])
    compose = compose_file(bench)
    facts = {}
    with docker(bench) as has_docker, crun(bench) as has_crun:
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
        has_compose = has_docker and shutil.which("docker-compose", path=bench.env["PATH"])

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
    return facts


def report(bench, facts):
    machine = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    print(f"\n\n{datetime.date.today()}, {os.cpu_count()} x {machine or platform.machine()}, Linux {platform.release()}, "
          f"medians of {bench.rounds} runs\n")
    peers = ["docker", "crun"]
    print("| what | setpoint | docker | crun | setpoint / docker | setpoint / crun |")
    print("|---|---|---|---|---|---|")
    for what, took in bench.rows:
        cells = [f"{took[name]:.1f} ms" if name in took else "" for name in ["setpoint", *peers]]
        cells += [f"{took['setpoint'] / took[peer]:.3f}" if peer in took else "" for peer in peers]
        print("|", " | ".join([what, *cells]), "|")
    print()
    for name, value in facts.items():
        print(f"| {name} | {value} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setpoint", type=os.path.abspath)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=os.path.abspath)
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("Containers need root: run this as root.")
    # A first Ctrl-C or SIGTERM still removes what was made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    unshare(CLONE_NEWNS | CLONE_NEWNET)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spbench", dir="/var/tmp"))
    bench = Bench(args.setpoint, args.rounds, folder)
    try:
        facts = measure(bench)
        report(bench, facts)
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps({"rows": bench.rows, "facts": facts}, indent=1))
    finally:
        subprocess.run([bench.setpoint, "system", "reset", "--force", "--volumes"], env=bench.env,
                       stdout=bench.log, stderr=bench.log)
        bench.log.close()
        for group in pathlib.Path("/sys/fs/cgroup").glob(f"**/{folder.name}"):
            group.rmdir()
        shutil.rmtree(folder, ignore_errors=True)


main()
