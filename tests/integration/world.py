"""The installed pycontain with directories of its own, and what it may leave behind (nothing).

The tests run in a mount and a network namespace of their own: scripts/isolated.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
PYCONTAIN = str(BIN / "pycontain")
PYCONTAIN_OCI = str(BIN / "pycontain-oci")
TIMEOUT = 60


def isolated() -> bool:
    """Whether this process is in the network namespace that scripts/isolated has made (and in its mount namespace)."""
    return os.environ.get("PYCONTAIN_ISOLATED") == os.readlink("/proc/self/ns/net")


class World:
    """pycontain with its own --root and --run-root."""

    def __init__(self, root: Path, run_root: Path) -> None:
        self.root = root
        self.run_root = run_root

    @property
    def command(self) -> list[str]:
        return [PYCONTAIN, "--root", str(self.root), "--run-root", str(self.run_root)]

    def __call__(
        self, *arguments: str, input: str | bytes | None = None, timeout: float = TIMEOUT, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run pycontain to its end; output as text."""
        data = input.encode() if isinstance(input, str) else input
        stdin = {"input": data} if data is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(
            [*self.command, *arguments], capture_output=True, timeout=timeout, check=False, **stdin, **more
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    def ok(self, *arguments: str, **more: Any) -> str:
        """Run pycontain, which must succeed without a word on stderr; what it printed, without the last newline."""
        done = self(*arguments, **more)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout.removesuffix("\n")

    def inside(self, script: str, *flags: str, image: str = "busybox") -> str:
        """The output of a shell script in a new container without network, or with what ``flags`` say."""
        network = () if any(flag.startswith(("--network", "--net", "-p")) for flag in flags) else ("--network", "none")
        return self.ok("run", "--rm", *network, *flags, image, "sh", "-c", script)

    def python(self, script: str, *flags: str) -> str:
        """The output of a Python script in a new container of the image sparse."""
        network = () if any(flag.startswith(("--network", "--net", "-p")) for flag in flags) else ("--network", "none")
        return self.ok("run", "--rm", *network, *flags, "sparse", "/usr/bin/python3", "-I", "-S", "-c", script)

    @property
    def helper(self) -> Path:
        """The helper that is installed."""
        return Path(sysconfig.get_path("platlib")) / "pycontain" / "pycontain-helper"

    @property
    def all_capabilities(self) -> tuple[str, ...]:
        """Flags for all capabilities that this machine can grant."""
        from pycontain.kernel import capability

        status = Path("/proc/self/status").read_text()
        own = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapPrm:"))
        missing = set(capability.NAMES) - set(capability.names(own))
        return ("--cap-add", "ALL", *(word for name in sorted(missing) for word in ("--cap-drop", name)))

    def refused(self, *arguments: str, status: int = 125, **more: Any) -> str:
        """Run pycontain, which must end with ``status``, print nothing, and say why in one line; that line."""
        done = self(*arguments, **more)
        assert done.returncode == status, done
        assert done.stdout == "", done
        lines = [line for line in done.stderr.splitlines() if not line.startswith("Try ")]
        assert len(lines) == 1 and lines[0].startswith("pycontain: "), done
        assert "Traceback" not in done.stderr
        return lines[0].removeprefix("pycontain: ")

    def background(self, *arguments: str, **more: Any) -> str:
        """``run -d``: the container's ID."""
        identity = self.ok("run", "-d", *arguments, **more)
        assert len(identity) == 64
        return identity

    def inspect(self, container: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok("inspect", container))[0]
        return found

    def pid(self, container_id: str) -> int:
        """The host's PID of a container's init, which has its program's name and rights by now."""
        pid = int((self.run_root / "containers" / container_id / "pid").read_text().split()[0])
        executed(pid)
        return pid

    def restarted(self, container_id: str, first: int) -> bool:
        """Whether another init than the first is there; between the two there is a moment without a file."""
        try:
            return self.pid(container_id) != first
        except (FileNotFoundError, IndexError):
            return False

    def monitor_pid(self, container_id: str) -> int:
        """The parent of its init."""
        stat = Path(f"/proc/{self.pid(container_id)}/stat").read_text()
        return int(stat.rpartition(")")[2].split()[1])

    def relay_pid(self, container_id: str) -> int:
        """The process of its monitor's that has to do with its output and its clients; it is there from now on, behind
        its walls."""
        self.wake(container_id)
        monitor = self.monitor_pid(container_id)
        found: list[int] = []

        def look() -> list[int]:
            for child in Path(f"/proc/{monitor}/task/{monitor}/children").read_text().split():
                try:
                    status = Path(f"/proc/{child}/status").read_text()
                except OSError:  # ended since
                    continue
                if status.startswith("Name:\tpycontain-io\n") and "\nSeccomp:\t2\n" in status:
                    found.append(int(child))
            return found

        assert eventually(look), f"monitor {monitor} has no relay"
        return found[0]

    def wake(self, container_id: str) -> None:
        """As a client that has come and gone: the relay of a container that says nothing is made for the first one."""
        directory = os.open(self.run_root / "containers" / container_id, os.O_PATH)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(f"/proc/self/fd/{directory}/attach")
        os.close(directory)

    def status(self, container: str) -> str:
        rows = json.loads(self.ok("ps", "-a", "--format", "json"))
        return next((str(row["State"]) for row in rows if container in (row["Id"], row.get("Name"))), "gone")

    def remove_all(self) -> None:
        """All containers and volumes."""
        self("rm", "-f", "--all")
        if (self.root / "volumes").exists():
            self("volume", "prune", "-f")

    # --- what is left ---

    def leftovers(self) -> list[str]:
        """Everything that a container may have left, in words. The bridge, images and caches are no leftovers."""
        found = [f"directory {path}" for path in _entries(self.root / "containers")]
        found += [f"name {path.name}" for path in _entries(self.root / "names")]
        found += [f"hold {path}" for path in (self.root / "images").glob("*/used/*")]
        found += [f"run state {path}" for path in _entries(self.run_root / "containers")]
        found += [f"pending {path.name}" for path in _entries(self.run_root / "pending")]
        found += [f"lease {path.name}" for path in _entries(self.run_root / "network" / "leases")]
        found += [f"range of IDs {path.name}" for path in _entries(self.root / "ids") if path.name != "next"]
        found += [f"mount {line}" for line in _mounts() if str(self.root) in line or str(self.run_root) in line]
        found += [f"device {name}" for name in _devices()]
        found += [f"cgroup {path}" for path in cgroups()]
        found += [f"process {text}" for text in self.processes()]
        return found

    def processes(self) -> list[str]:
        """Living processes of this world: monitors, front processes, interpreters with its directories."""
        found = []
        for directory in run_processes():
            if int(directory.name) == os.getpid():
                continue
            try:
                command = (directory / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                name = (directory / "comm").read_text().strip()
                # that of a container in a container has another network namespace; a zombie has none
                near = os.path.samefile(directory / "ns" / "net", "/proc/self/ns/net")
            except OSError:
                continue
            if str(self.run_root) in command or (near and name in ("pycontain-mon", "pycontain-io", "pycontain-init")):
                found.append(f"{directory.name} {name}: {command}")
        return found


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def _devices() -> Iterator[str]:
    """The host ends of containers' devices in this network namespace."""
    for line in Path("/proc/net/dev").read_text().splitlines()[2:]:
        name = line.partition(":")[0].strip()
        if name.startswith("vp"):
            yield name


def run_processes() -> Iterator[Path]:
    """Directories of /proc: the processes of this run of tests, which has a cgroup of its own (scripts/isolated)."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            line = next(line for line in (directory / "cgroup").read_text().splitlines() if line.startswith("0::"))
        except (OSError, StopIteration):
            continue
        if not line.startswith("0::/.."):  # cgroup_namespaces(7): outside of ours
            yield directory


def named(*names: str) -> list[Path]:
    """Those of run_processes that have one of these names (/proc/PID/comm)."""
    found = []
    for directory in run_processes():
        try:
            if (directory / "comm").read_text().strip() in names:
                found.append(directory)
        except OSError:
            continue
    return found


def own_cgroup() -> Path:
    """The cgroup of this process."""
    line = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    return cgroup_mount() / line[3:].strip("/")


def cgroup_mount() -> Path:
    for line in _mounts():
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            return Path(fields.split()[4])
    raise AssertionError("cgroup2 is not mounted")


def cgroups() -> list[Path]:
    """The cgroups of containers, and the parent that the last one takes with it."""
    parent = cgroup_mount() / "pycontain"
    try:
        below = list(parent.iterdir())
    except OSError:
        return []
    return sorted(path for path in [parent, *below] if path.is_dir())


def digest(directory: Path) -> list[tuple[object, ...]]:
    """Everything about a tree but access times."""
    found: list[tuple[object, ...]] = []
    for path in sorted([directory, *directory.rglob("*")]):
        info = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
        facts = (info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
        found.append((str(path), *facts, content))
    return found


def executed(pid: int) -> None:
    """Wait for the end of an execve(2) that a process is in.

    It closes descriptors, by which "run -d" knows of it, before the process has its new name and capabilities. What is
    asked for here the kernel tells when they are there (exec_update_lock).
    """
    try:
        Path(f"/proc/{pid}/syscall").read_bytes()
    except OSError:
        pass  # it has ended


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> bool:
    """Whether something that the kernel does in the background, and that has no event, comes true in time.

    Looked at once more when time is over: this process may have been held up, too.
    """
    deadline = time.monotonic() + seconds
    while True:
        last = time.monotonic() > deadline
        if condition():
            return True
        if last:
            return False
        time.sleep(0.01)


def reap() -> None:
    """Take orphans that came to this process (a subreaper); nobody waits for them."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
