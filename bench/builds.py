"""Builds: commands, stages and many files, for the first time and again, beside docker's classic builder and buildah."""

import os
import pathlib
import shutil

from common import IMAGE, daemon, docker

FILES = 50_000
STEPS = 10
STAGES = 5
ROUNDS = 5


def contexts(bench):
    """Three folders with a Dockerfile each."""
    steps = bench.folder / "steps"
    steps.mkdir()
    commands = "".join(f"RUN echo {n} > /file-{n}\n" for n in range(STEPS))
    (steps / "Dockerfile").write_text(f"FROM {IMAGE}\n{commands}")

    stages = bench.folder / "stages"
    stages.mkdir()
    names = [f"s{n}" for n in range(STAGES)]
    # Work that takes a while without taking a processor, as downloads do.
    text = "".join(f"FROM {IMAGE} AS {name}\nRUN sleep 0.5; echo {name} > /{name}\n" for name in names)
    text += f"FROM {IMAGE}\n" + "".join(f"COPY --from={name} /{name} /\n" for name in names)
    (stages / "Dockerfile").write_text(text)

    many = bench.folder / "many"
    many.mkdir()
    for n in range(FILES):
        folder = many / "files" / f"{n % 500:03}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{n}.txt").write_text(f"the content of file {n}\n" * 8)
    (many / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY files /files\n")
    # Files that have just been changed are read again, because a time may not tell two changes apart.
    os.sync()
    return steps, stages, many


def measure(bench):
    setpoint, folder = bench.setpoint, bench.folder
    steps, stages, many = contexts(bench)
    root = folder / "build-root"
    (root / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), root / "bin/busybox")
    for name in ("sh", "echo", "sleep", "true"):
        (root / "bin" / name).symlink_to("busybox")
    bench.quiet([setpoint, "import", root, IMAGE])
    archive = folder / "base.tar"
    bench.quiet([setpoint, "save", "-o", archive, IMAGE])
    buildah = ["buildah", "--root", folder / "buildah", "--runroot", folder / "buildah-run", "--storage-driver", "overlay"]
    has_buildah = bench.has("buildah")
    if has_buildah:
        bench.quiet([*buildah, "pull", f"docker-archive:{archive}"])
    else:
        print("buildah is not installed: left out")
    with docker(bench) as has_docker, daemon(bench):
        if has_docker:
            bench.quiet(["docker", "load", "-i", archive])
            bench.env["DOCKER_BUILDKIT"] = "0"

        def commands(context, fresh):
            more = ["--no-cache"] if fresh else []
            ours = {"setpoint": [setpoint, "build", "-q", *more, "-t", "made:1", context]}
            if has_docker:
                ours["docker"] = ["docker", "build", "-q", *more, "-t", "made:1", context]
            if has_buildah:
                # As the others keep layers.
                ours["buildah"] = [*buildah, "bud", "-q", "--layers", *more, "-t", "made:1", context]
            return ours

        bench.row(f"build of {STEPS} RUNs", commands(steps, True), rounds=ROUNDS)
        bench.row("the same, nothing changed", commands(steps, False), rounds=ROUNDS)
        bench.row(f"build of {STAGES} stages that take half a second", commands(stages, True), rounds=ROUNDS)
        bench.row(f"COPY of {FILES:,} files", commands(many, True), rounds=3)
        bench.row("the same, nothing changed", commands(many, False), rounds=3)
    for path in (folder / "buildah", many):
        shutil.rmtree(path, ignore_errors=True)
