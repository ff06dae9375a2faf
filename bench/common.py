"""What both parts of the bench need: a way to run and to time programs, daemons of their own, and what a process takes."""

import concurrent.futures
import contextlib
import ctypes
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
IMAGE = "localhost/bench:1"
# setpoint's run folder, docker's exec root, and the roots of `oci` and of crun.
VOLATILE = ("run", "exec", "oci", "crun")
# Who runs by crun.
CRUN = ("crun", "buildah")
# Seconds between two measurements.
REST = 0.3
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
        # What lasts until the next boot lies in memory, as on every host: /run is what these stand for.
        for name in VOLATILE:
            (folder / name).mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder / name)], check=True)
        self.rows, self.facts = [], {}
        self.crun_thread = concurrent.futures.ThreadPoolExecutor(1, initializer=hide_unified_cgroups)

    def close(self):
        """Removes what was made, whatever has become of it."""
        subprocess.run([self.setpoint, "system", "reset", "--force", "--volumes"], env=self.env, stdout=self.log, stderr=self.log)
        self.log.close()
        for name in VOLATILE:
            subprocess.run(["umount", "-l", str(self.folder / name)], check=False)
        for group in pathlib.Path("/sys/fs/cgroup").glob(f"**/{self.folder.name}"):
            group.rmdir()

    @staticmethod
    def architecture():
        return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

    def has(self, program):
        return shutil.which(program, path=self.env["PATH"]) is not None

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

    def row(self, what, commands, rounds=None, between=None, before=None):
        """One line of the table: `commands` maps a program to its command. `before` and `between` are called or run, unmeasured,
        before and after each."""
        took = {name: [] for name in commands}
        # The first round warms caches and is not counted.
        for i in range((rounds or self.rounds) + 1):
            for name, argv in commands.items():
                if before:
                    before(name)
                # What the last program left to be done in the background, or to be written to the disk, is not to count against the
                # next one: setpoint waits until its own is on the disk, and that would take another's along.
                subprocess.run(["sync", "-f", self.folder], check=True)
                time.sleep(REST)
                ms = self.crun_thread.submit(self.timed, argv).result() if name in CRUN else self.timed(argv)
                after = (between or {}).get(name)
                if callable(after):
                    after()
                elif after:
                    self.quiet(after)
                if i > 0:
                    took[name].append(ms)
        medians = {name: statistics.median(all_) for name, all_ in took.items()}
        self.rows.append((what, medians))
        print(what, *(f"{name} {ms:.1f} ms" for name, ms in medians.items()), sep="; ", file=sys.stderr, flush=True)


def wait_for(what, check, seconds=60):
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            sys.exit(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def rootfs(bench):
    """The root of a small image, as a tar."""
    folder, tar = bench.folder / "rootfs", bench.folder / "rootfs.tar"
    if not tar.exists():
        bench.quiet(["sh", HERE.parent / "examples/rootfs.sh", folder])
        bench.quiet(["tar", "-C", folder, "-cf", tar, "."])
    return tar


@contextlib.contextmanager
def journaled(bench):
    """The same bench on a file system of its own, an ext4 with a journal, as hosts have it. One without a journal looks for numbers
    of files that were not deleted lately, so a measurement of many files would pay for what another program has removed before."""
    image, folder = bench.folder / "disk.img", bench.folder / f"{bench.folder.name}disk"
    folder.mkdir()
    subprocess.run(["truncate", "-s", "16G", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    try:
        other = Bench(bench.setpoint, bench.rounds, folder)
        try:
            yield other
            bench.rows += other.rows
            bench.facts |= other.facts
        finally:
            other.close()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        image.unlink()


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
    if not bench.has("dockerd"):
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
