#!/usr/bin/env -S python3 -B
"""Measures setpoint beside docker, docker-compose, podman, crun and buildah, all in one run on one machine.

usage: run.py SETPOINT [--floor FLOOR] [--only containers|images|builds|stacks] [--rounds N] [--json FILE]

Runs in mount and network namespaces of its own, with a dockerd and roots of its own below /var/tmp, and removes all of it
at the end. Every row alternates between the programs, so that what else the machine does hits all of them alike; a figure
is the median. A program that is not installed is left out, and that is said.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile

import builds
import containers
import images
import stacks
from common import CLONE_NEWNET, CLONE_NEWNS, Bench, journaled, unshare

PEERS = ["docker", "podman", "crun", "buildah", "floor"]


def report(bench):
    machine = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    print(f"\n\n{datetime.date.today()}, {os.cpu_count()} x {machine or platform.machine()}, Linux {platform.release()}, "
          f"load {os.getloadavg()[2]:.1f}, medians of {bench.rounds} runs or as many as a row says\n")
    there = [peer for peer in PEERS if any(peer in took for _, took in bench.rows)]
    heads = ["what", "setpoint", *there, *(f"setpoint / {peer}" for peer in there)]
    print("|", " | ".join(heads), "|")
    print("|" + "---|" * len(heads))
    for what, took in bench.rows:
        cells = [f"{took[name]:.1f} ms" if name in took else "" for name in ["setpoint", *there]]
        cells += [f"{took['setpoint'] / took[peer]:.3f}" if peer in took else "" for peer in there]
        print("|", " | ".join([what, *cells]), "|")
    print()
    for name, value in bench.facts.items():
        print(f"| {name} | {value} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setpoint", type=os.path.abspath)
    parser.add_argument("--floor", type=os.path.abspath)
    parser.add_argument("--only", choices=["containers", "images", "builds", "stacks"])
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
        if args.only in (None, "containers"):
            containers.measure(bench)
        if args.only in (None, "images"):
            images.measure(bench, args.floor)
        if args.only in (None, "builds"):
            with journaled(bench) as other:
                builds.measure(other)
        if args.only in (None, "stacks"):
            stacks.measure(bench)
        report(bench)
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps({"rows": bench.rows, "facts": bench.facts}, indent=1))
    finally:
        bench.close()
        shutil.rmtree(folder, ignore_errors=True)


main()
