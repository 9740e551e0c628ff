"""Whole commands: ``pycontain run --rm`` beside podman, Docker, containerd and what else starts a container."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.bundles import Bundles
from tests.bench.peers import BIN, COLD, WARM, Runtime, cold, version
from tests.bench.timing import Failed, spawn

IMAGE = "localhost/busybox:latest"
#: Seconds until a daemon has to answer.
_PATIENCE = 30.0


class Program:
    """Something with ``run``. once: milliseconds of the whole command; network: with one of its own that leads out."""

    def __init__(self, who: str, name: str, network: bool, once: Callable[[], float]) -> None:
        self.who, self.name, self.network, self.once = who, name, network, once


class Maker:
    """What all of them need. tree: the image's files; archive: the same as tar."""

    def __init__(
        self, base: Path, bundles: Bundles, own: list[str], warm: dict[str, str], runtimes: list[Runtime]
    ) -> None:
        self.base, self.bundles, self.tree, self.own, self.runtimes = base, bundles, bundles.tree, own, runtimes
        self.env = {COLD: cold(), WARM: warm}
        self.errors = base / "errors"
        self.archive = base / "rootfs.tar"
        subprocess.run(["tar", "-C", str(self.tree), "-c", "-f", str(self.archive), "."], check=True)
        self.trouble: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self.daemons: dict[str, list[str]] = {}

    def run(self, argv: list[str], env: dict[str, str] | None = None) -> Callable[[], float]:
        chosen = dict(os.environ) if env is None else env
        return lambda: spawn(argv, chosen, self.errors)

    def quietly(self, argv: list[str], env: dict[str, str] | None = None) -> None:
        """To set something up. Raises Failed."""
        spawn(argv, dict(os.environ) if env is None else env, self.errors)


def ours(maker: Maker) -> Iterator[Program]:
    for who in (COLD, WARM):
        for flags, network in (
            (["--network", "none"], False),
            (["--network", "none", "--userns", "host"], False),
            ([], True),
        ):
            words = ["run", "--rm", *flags]
            name = f"`pycontain {' '.join(words)}`" + (", with a planner" if who == WARM else "")
            key = f"pycontain {who}" + (", --userns host" if len(flags) > 2 else "")
            once = maker.run([*maker.own, *words, "busybox", "true"], maker.env[who])
            yield Program(key, name, network, once)


class Podman:
    """podman with a store of its own and the runtime that is measured beside it."""

    def __init__(self, maker: Maker, runtime: Runtime) -> None:
        self.maker, self.runtime = maker, runtime
        base = maker.base / f"p-{runtime.name}"
        base.mkdir()
        config = base / "containers.conf"
        config.write_text('[containers]\ndefault_ulimits = []\npids_limit = 0\nlog_driver = "k8s-file"\n')
        self.env = {**os.environ, "CONTAINERS_CONF": str(config)}
        flags = ["--root", str(base / "root"), "--runroot", str(base / "run"), "--tmpdir", str(base / "tmp")]
        flags += ["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]
        self.command = ["podman", *flags, "--runtime", runtime.program]
        # crun 1.8 cannot load a device filter without CAP_SYS_RESOURCE: without a cgroup podman asks for none, which is
        # less work than usual
        self.less: list[str] = []

    def load(self) -> None:
        """Raises Failed."""
        self.maker.quietly([*self.command, "import", str(self.maker.archive), IMAGE], self.env)
        try:
            self.maker.quietly(self.words("none"), self.env)
        except Failed:
            self.less = ["--cgroups=disabled"]
            self.maker.quietly(self.words("none"), self.env)

    def words(self, network: str) -> list[str]:
        return [*self.command, "run", "--rm", *self.less, "--network", network, "--pull", "never", IMAGE, "true"]

    def programs(self) -> Iterator[Program]:
        who = f"podman with {self.runtime.name}"
        note = f" {self.less[0]}" if self.less else ""
        for network, flags in (("none", " --network none"), ("bridge", "")):
            name = f"`podman run --rm{flags}{note}` with {self.runtime.name}"
            yield Program(who, name, not flags, self.maker.run(self.words(network), self.env))

    def clear(self) -> None:
        subprocess.run([*self.command, "rm", "-f", "-t0", "-a"], env=self.env, check=False, capture_output=True)


@contextmanager
def _daemon(argv: list[str], log: Path, answers: Callable[[], bool]) -> Iterator[None]:
    """Raises Failed."""
    with log.open("w") as file:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        end = time.monotonic() + _PATIENCE
        while not answers():
            if process.poll() is not None or time.monotonic() > end:
                lines = log.read_text(errors="replace").strip().splitlines()
                raise Failed(f"{argv[0]} does not start: {lines[-1] if lines else ''}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _says(argv: list[str]) -> bool:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0


@contextmanager
def docker(maker: Maker) -> Iterator[list[Program]]:
    """Docker's daemon with directories of its own, and a bridge of its own. Raises Failed."""
    program = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else shutil.which("docker")
    if not program or not shutil.which("dockerd"):
        raise Failed("not installed")
    base = maker.base / "docker"
    base.mkdir()
    host = f"unix://{base}/socket"
    settings = {
        "data-root": f"{base}/root",
        "exec-root": f"{base}/exec",
        "pidfile": f"{base}/pid",
        "hosts": [host],
        "bip": "10.213.0.1/24",
        "storage-driver": "overlay2",
    }
    config = base / "daemon.json"
    config.write_text(json.dumps(settings))
    command = [program, "-H", host]
    with _daemon(["dockerd", "--config-file", str(config)], base / "log", lambda: _says([*command, "version"])):
        maker.quietly([*command, "import", str(maker.archive), "busybox"])
        maker.versions["Docker"] = version("dockerd")
        maker.daemons["Docker"] = [*command, "run", "-d", "--network", "none", "busybox", "sleep", "1000000"]
        run = [*command, "run", "--rm"]
        try:
            yield [
                Program("Docker", "`docker run --rm --network none`", False,
                        maker.run([*run, "--network", "none", "busybox", "true"])),
                Program("Docker", "`docker run --rm`", True, maker.run([*run, "busybox", "true"])),
            ]  # fmt: skip
        finally:
            names = subprocess.run([*command, "ps", "-aq"], check=False, capture_output=True, text=True).stdout.split()
            if names:
                subprocess.run([*command, "rm", "-f", *names], check=False, capture_output=True)


@contextmanager
def containerd(maker: Maker) -> Iterator[list[Program]]:
    """containerd, driven by ctr on a root file system that is there. Raises Failed."""
    if not shutil.which("containerd") or not shutil.which("ctr"):
        raise Failed("not installed")
    base = maker.base / "containerd"
    base.mkdir()
    config = base / "config.toml"
    config.write_text(
        f'version = 2\nroot = "{base}/root"\nstate = "{base}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{base}/socket"\n'
    )
    command = ["ctr", "--address", f"{base}/socket"]
    # ctr's own spec asks for a share of the processor, which not every machine can give
    true, idle = (str(bundle / "config.json") for bundle in (maker.bundles.true, maker.bundles.idle))
    with _daemon(["containerd", "--config", str(config)], base / "log", lambda: _says([*command, "version"])):
        maker.versions["containerd"] = version("containerd")
        maker.daemons["containerd"] = [*command, "run", "-d", "--config", idle, "NAME"]
        words = [*command, "run", "--rm", "--config", true, "bench"]
        try:
            yield [Program("containerd", "`ctr run --rm --config`", False, maker.run(words))]
        finally:
            tasks = subprocess.run([*command, "task", "ls", "-q"], check=False, capture_output=True, text=True).stdout
            for name in tasks.split():
                subprocess.run([*command, "task", "rm", "-f", name], check=False, capture_output=True)


def small(maker: Maker) -> Iterator[Program]:
    """What has neither images nor an OCI bundle; and what costs time before any container."""
    tree = str(maker.tree)
    if shutil.which("bwrap"):
        words = ["bwrap", "--unshare-all", "--bind", tree, "/", "--proc", "/proc", "--dev", "/dev", "true"]
        maker.versions["bwrap"] = version("bwrap")
        yield Program("bwrap", "`bwrap --unshare-all`", False, maker.run(words))
    if shutil.which("systemd-nspawn"):
        words = ["systemd-nspawn", "--register=no", "--keep-unit", "--private-network", "-q", "-D", tree, "/bin/true"]
        env = {**os.environ, "SYSTEMD_NSPAWN_CHECK_OS_RELEASE": "0"}
        maker.versions["systemd-nspawn"] = version("systemd-nspawn")
        yield Program("systemd-nspawn", "`systemd-nspawn --private-network`", False, maker.run(words, env))
    python = str(BIN / "python3")
    yield Program("Python", "`python3 -I -S -c pass`", False, maker.run([python, "-I", "-S", "-c", "pass"]))
    static = str(maker.tree / "bin" / "busybox")
    yield Program("true", "a static `true`, no container", False, maker.run([static, "true"]))


@contextmanager
def programs(maker: Maker) -> Iterator[list[Program]]:
    """All that work here; ``maker.trouble`` has the reasons of those that do not."""
    found = [*ours(maker), *small(maker)]
    with ExitStack() as stack:
        for runtime in maker.runtimes:
            if runtime.name not in ("crun", "runc") or not shutil.which("podman"):
                continue
            podman = Podman(maker, runtime)
            stack.callback(podman.clear)
            try:
                podman.load()
            except Failed as reason:
                maker.trouble[f"podman with {runtime.name}"] = str(reason)
                continue
            maker.versions["podman"] = version("podman")
            maker.daemons[f"podman with {runtime.name}"] = [
                *(*podman.command, "run", "-d", *podman.less, "--network", "none", "--pull", "never", IMAGE),
                *("sleep", "1000000"),
            ]
            found += podman.programs()
            maker.env[f"podman with {runtime.name}"] = podman.env
        for name, make in (("Docker", docker), ("containerd", containerd)):
            try:
                found += stack.enter_context(make(maker))
            except Failed as reason:
                maker.trouble[name] = str(reason)
        yield found
