"""The loop: stacks of many services, nothing to do, drift that is repaired, and what the daemon takes meanwhile."""

import pathlib
import subprocess
import sys
import time

from common import IMAGE, daemon, docker, memory, rootfs, wait_for

SIZES = (20, 100)
MANY = 1000
# Containers in one network.
EACH = 200


def compose_file(bench, count):
    folder = bench.folder / f"stack{count}"
    folder.mkdir()
    # A network has 253 addresses unless it is told otherwise.
    networks = "".join(f"  n{n}: {{}}\n" for n in range((count + EACH - 1) // EACH))
    services = "".join(f'  s{n}: {{image: "{IMAGE}", command: [sleep, "100000"], stop_signal: SIGKILL, networks: [n{n // EACH}]}}\n'
                       for n in range(count))
    path = folder / "compose.yaml"
    path.write_text(f'version: "3"\nservices:\n{services}networks:\n{networks}')
    return path


def measure(bench):
    setpoint = bench.setpoint
    tar = rootfs(bench)
    bench.quiet([setpoint, "import", tar, IMAGE])
    with docker(bench) as has_docker:
        compose = has_docker and bench.has("docker-compose")
        if not compose:
            print("docker-compose is not installed: left out")
        else:
            bench.quiet(["docker", "import", "--change", "ENV PATH=/bin", tar, IMAGE])
        with daemon(bench) as child:
            bench.facts["daemon, no containers: RSS"] = f"{memory(child.pid)[0] / 1024:.1f} MiB"
            for count in SIZES:
                stack(bench, child, count, compose)
            drifts(bench)
            thousand(bench, child, compose)


def docker_stack(bench, path, count):
    """What brings it up, and what is to be called to take it down."""
    # It asks its daemon for so much at once that a minute, after which it gives up otherwise, may be too short.
    docker_compose = ["docker-compose", "-f", path, "-p", f"bench{count}"]
    more = ["env", "COMPOSE_HTTP_TIMEOUT=600"]
    # A service takes one place of those that work at the same time and its container another: with the 64 places that there are
    # unless it is told otherwise, of many more services all may wait for ever for the second one.
    places = [f"COMPOSE_PARALLEL_LIMIT={count + 64}"] if count > max(SIZES) else []

    def down():
        # Networks have containers that are gone already for a moment longer, and are not waited for.
        for _ in range(4):
            done = subprocess.run([*more, *docker_compose, "down", "-t", "0"], env=bench.env, stdout=bench.log, stderr=bench.log)
            if done.returncode == 0:
                return
            time.sleep(3)
        sys.exit(f"docker-compose does not take down its {count} services: see {bench.log.name}")

    return [*more, *places, *docker_compose, "up", "-d"], down


def stack(bench, child, count, compose):
    path = compose_file(bench, count)
    up = {"setpoint": [bench.setpoint, "apply", path]}
    down = {"setpoint": lambda: bench.quiet([bench.setpoint, "destroy", path])}
    if compose:
        up["docker"], down["docker"] = docker_stack(bench, path, count)
    bench.row(f"apply of {count} services", up, rounds=2 if count > 20 else 3, between=down)
    for argv in up.values():
        bench.quiet(argv)
    bench.row(f"{count} services, nothing to do", up, rounds=5)
    bench.row(f"plan of {count} services, nothing to do", {"setpoint": [bench.setpoint, "plan", path]}, rounds=5)
    time.sleep(2)
    bench.facts[f"daemon, {count} containers: RSS"] = f"{memory(child.pid)[0] / 1024:.1f} MiB"
    for take in down.values():
        take()


def thousand(bench, child, compose):
    """Docker takes minutes to come this far, and is there only for what it then takes to find nothing to do."""
    path = compose_file(bench, MANY)
    began = time.monotonic()
    bench.quiet([bench.setpoint, "apply", path])
    bench.facts[f"apply of {MANY:,} services"] = f"{time.monotonic() - began:.1f} s"
    # The kernel tells of new links for a quarter of a minute, and each time they are looked at.
    time.sleep(15)
    bench.row(f"plan of {MANY:,} services, nothing to do", {"setpoint": [bench.setpoint, "plan", path]}, rounds=5)
    nothing = {"setpoint": [bench.setpoint, "apply", path]}
    bench.row(f"{MANY:,} services, nothing to do", nothing, rounds=5)
    bench.facts[f"daemon, {MANY:,} containers: RSS"] = f"{memory(child.pid)[0] / 1024:.1f} MiB"
    before = ticks(child.pid)
    # With two of the full looks that there are once a minute.
    time.sleep(120)
    bench.facts[f"daemon, {MANY:,} containers, idle for two minutes: processor"] = f"{(ticks(child.pid) - before) / 120:.2f} %"
    if compose:
        # It fails to take as many down; they go with its daemon, which is why this comes last.
        up, _ = docker_stack(bench, path, MANY)
        began = time.monotonic()
        bench.quiet(up)
        bench.facts[f"docker-compose: up of {MANY:,} services"] = f"{time.monotonic() - began:.1f} s"
        time.sleep(15)
        both = {**nothing, "docker": up}
        bench.row(f"{MANY:,} services, nothing to do, as many of the other beside them", both, rounds=3)
    bench.quiet([bench.setpoint, "destroy", path])


def ticks(pid):
    """Hundredths of a second of processor time."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def drifts(bench):
    """How long the daemon takes to put right what somebody has damaged, from the damage on."""
    folder = bench.folder / "manifests"
    (folder / "drift.yaml").write_text(
        "apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: drift}\n"
        f'spec: {{image: "{IMAGE}", command: [sleep, "100000"], networks: [bench], ports: ["8077:80"], stop_signal: SIGKILL, restart: always}}\n')

    def inspect():
        done = subprocess.run([bench.setpoint, "inspect", "-f", "{{.state.pid}} {{.id}}", "manifests-drift"], env=bench.env,
                              capture_output=True, text=True)
        words = done.stdout.split()
        return words if done.returncode == 0 and len(words) == 2 else None

    wait_for("the container runs", inspect)
    time.sleep(2)
    pid, ident = inspect()
    table = next(line.split()[2] for line in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout.splitlines()
                 if "setpoint" in line or "sp" in line)

    def link_there():
        return subprocess.run(["nsenter", "-n", "-t", pid, "ip", "link", "show", "eth0"], capture_output=True).returncode == 0

    def table_there():
        listed = subprocess.run(["nft", "list", "map", "ip", table, "published"], capture_output=True, text=True)
        return "8077" in listed.stdout

    def other_process():
        words = inspect()
        return words is not None and words[0] != pid

    def gone():
        words = inspect()
        return words is not None and words[1] != ident

    limit = next(pathlib.Path("/sys/fs/cgroup").glob(f"**/{ident}/pids.max"))
    was = limit.read_text()

    def route_there():
        listed = subprocess.run(["nsenter", "-n", "-t", pid, "ip", "route"], capture_output=True, text=True)
        return "default" in listed.stdout

    damages = [
        ("a limit", ["sh", "-c", f"echo 7 > {limit}"], lambda: limit.read_text() == was),
        ("a route", ["nsenter", "-n", "-t", pid, "ip", "route", "del", "default"], route_there),
        ("a link", ["nsenter", "-n", "-t", pid, "ip", "link", "del", "eth0"], link_there),
        ("the packet filter", ["nft", "delete", "table", "ip", table], table_there),
        ("its process", ["kill", "-KILL", pid], other_process),
        ("the container", [bench.setpoint, "rm", "-f", "manifests-drift"], gone),
    ]
    for what, damage, repaired in damages:
        time.sleep(2)
        began = time.monotonic()
        bench.quiet(damage)
        wait_for(f"{what} is back", repaired)
        bench.facts[f"the daemon puts back: {what}"] = f"{(time.monotonic() - began) * 1000:.0f} ms"
    (folder / "drift.yaml").unlink()
    wait_for("it is gone", lambda: inspect() is None)
