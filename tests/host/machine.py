"""A disposable host: a User-mode Linux kernel that runs as a process, with all of cgroup v2.

Its root is a copy-on-write view of a small Debian (debian.py), the copy being the guest's memory, with this checkout at
its place, read-only. pycontain is on the path, its usual --root has the images of images.py. What a job writes is gone
with the host, but for the directories given as binds.

``run`` boots a host for one script. A ``Host`` stays and takes one script after the other.
"""

from __future__ import annotations

import itertools
import os
import platform
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from tests.host import debian, images
from tests.host.cache import NotReady as NotReady
from tests.host.images import CHECKOUT as CHECKOUT

HERE = Path(__file__).resolve().parent
#: The project's interpreter, here and in the host.
PYTHON = CHECKOUT / ".venv" / "bin" / "python"
#: The host died or ran out of time: the job has no exit status of its own.
DIED = 125
#: timeout(1) ended the script, and the host lives.
KILLED = 137
#: Guest output beyond this is a runaway.
OUTPUT_LIMIT = 16 << 20
#: Seconds of life of a host that takes many scripts; a guard, no test should come near.
LIFE = 1800.0
#: Seconds that a host has for an answer when the time of a script is over.
GRACE = 10.0
#: How long each boot of this process has taken: (systemd, seconds).
boots: list[tuple[bool, float]] = []
_PACKAGES = ("user-mode-linux", "busybox-static")
_SCRIPTS = ("stage1", "stage2", "serve")
#: What a throw-away host does not need takes more than half of the boot.
_MASKED = """
    apt-daily-upgrade.timer apt-daily.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    getty.target kmod-static-nodes.service modprobe@.service proc-sys-fs-binfmt_misc.automount
    systemd-binfmt.service systemd-journal-flush.service systemd-modules-load.service systemd-pcrphase-sysinit.service
    systemd-pcrphase.service systemd-random-seed.service systemd-remount-fs.service systemd-sysctl.service
    systemd-sysusers.service systemd-tmpfiles-clean.timer systemd-tmpfiles-setup-dev.service
    systemd-udev-trigger.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udevd.service
    systemd-update-utmp-runlevel.service systemd-update-utmp.service
""".split()
_NO_GENERATORS = """
    cryptsetup debug fstab getty gpt-auto hibernate-resume integritysetup rc-local run system-update sysv veritysetup
""".split()

_number = itertools.count(os.getpid())


class CannotRun(Exception):
    """This machine cannot have a User-mode Linux host at all; the text says why."""


@dataclass(frozen=True)
class Result:
    """What a script came to.

    status: its exit status; DIED where it has none, then ``console`` ends with the reason. output: of the script.
    console: what the kernel, and systemd, have said in the meantime. seconds: of the script, or of the whole host if it
    was booted for it.
    """

    status: int
    output: str
    console: str
    seconds: float


def check() -> None:
    """Raises CannotRun where no preparation could help."""
    if platform.machine() != "x86_64":
        raise CannotRun("User-mode Linux runs on x86-64 only")
    if os.geteuid() != 0:
        raise CannotRun("the test host wants root")


def kernel() -> Path:
    """The kernel that runs as a process: $UML_KERNEL, or the one of Debian's package, installed if missing.

    Raises CannotRun and NotReady.
    """
    check()
    chosen = Path(os.environ.get("UML_KERNEL", "/usr/bin/linux.uml"))
    if not chosen.exists() or not shutil.which("busybox"):
        _install()
    if not chosen.exists():
        raise NotReady(f"{chosen} is missing and cannot be installed: apt-get install {' '.join(_PACKAGES)}")
    return chosen


def _install() -> None:
    if not shutil.which("apt-get"):
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-qy", "--no-install-recommends", *_PACKAGES]):
        subprocess.run(["apt-get", *command], env=environment, stdout=sys.stderr, check=False, timeout=300)


def _preload(directory: Path) -> list[str]:
    """The environment that the kernel needs on this processor; see xstate.c. Raises NotReady."""
    if " amx_tile" not in Path("/proc/cpuinfo").read_text():
        return []
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise NotReady("this processor has AMX, for which the test host has to compile a shim: install a C compiler")
    library = directory / "xstate.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "xstate.c"), "-ldl"]
    subprocess.run(command, check=True)
    return ["env", f"LD_PRELOAD={library}"]


def _command(job: Path, control: int, memory: str, life: float) -> list[str]:
    processors = sorted(os.sched_getaffinity(0))
    return [
        # Whatever becomes of us: unshare dies, so the first process of its PID namespace dies, so all in there die.
        *("setpriv", "--pdeathsig", "KILL"),
        # Both sides of every ptrace on one processor: 3 to 6 times quicker.
        *("taskset", "-c", str(processors[next(_number) % len(processors)])),
        *("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
        # The kernel must not be PID 1 (its panic aborts itself, which PID 1 ignores); timeout is.
        *("timeout", "-s", "KILL", f"{life:g}"),
        *_preload(job),
        str(kernel()),
        *(f"mem={memory}", "umid=uml", f"uml_dir={job}/uml"),
        *("quiet", "loglevel=1", "panic=-1", "noreboot", "con=null", "con0=null,fd:2", "con1=null,fd:1"),
        *(f"con2=fd:{control}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"),
        *(f"init={job}/stage1", f"JOB={job}"),
    ]


def _units(etc: Path) -> None:
    """systemd's configuration of a host: the unit that serves jobs, and what is left out."""
    wants = etc / "systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    shutil.copy(HERE / "umljob.service", wants.parent)
    (wants / "umljob.service").symlink_to("../umljob.service")
    generators = etc / "systemd/system-generators"
    generators.mkdir()
    for path in [
        *(wants.parent / unit for unit in _MASKED),
        *(generators / f"systemd-{name}-generator" for name in _NO_GENERATORS),
    ]:
        path.symlink_to("/dev/null")


class Host:
    """A host that takes scripts one after the other; booted when the first comes, and again when it has died.

    memory: of the guest, which holds what it writes as well. binds: ``HOST:GUEST`` directories that the guest may
    write. systemd: boot systemd as PID 1 and run scripts in a unit of it, instead of under an init of our own. lower:
    what becomes /, instead of the Debian made for it. echo: pass the output on as it comes. life: seconds after the
    boot at which the host and all its processes are killed, whatever they do. files: a directory whose contents are in
    the root from the beginning.

    A context manager; closing kills it.
    """

    def __init__(
        self,
        *,
        memory: str = "512M",
        binds: Sequence[str] = (),
        systemd: bool = False,
        lower: str | None = None,
        echo: bool = False,
        life: float = LIFE,
        files: Path | None = None,
    ) -> None:
        self.memory, self.binds, self.systemd, self.lower, self.files = memory, binds, systemd, lower, files
        self.echo, self.life = echo, life
        #: Seconds from the start of the last boot until it took scripts.
        self.boot_seconds = 0.0
        self._booted: _Booted | None = None

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, script: str, *, timeout: float | None = 60.0) -> Result:
        """Run a shell script as root and wait for its end.

        timeout: seconds after which the script and its process group are killed (status KILLED); None: it may take as
        long as the host lives. A host that does not even do that is itself killed (status DIED), GRACE seconds later.

        Raises CannotRun and NotReady.
        """
        if self._booted is not None and timeout is not None and self._booted.left < timeout + GRACE:
            self.close()
        if self._booted is None:
            self._booted = _Booted(self)
        result = self._booted.run(script, timeout)
        if result.status == DIED and not self._booted.alive:
            self.close()
        return result

    def close(self) -> None:
        """Kill the host with all its processes, if it runs."""
        if self._booted is not None:
            self._booted.close()
            self._booted = None


class _Booted:
    """The processes and files of one boot of a Host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.alive = True
        self._job = Path(tempfile.mkdtemp(prefix="pycontain-host-"))
        # Files, not pipes: a guest that writes without end meets a limit, and nobody waits for an end of file.
        self._output, self._console = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self._control, control = socket.socketpair()
        self._received = b""
        self._gone = False
        self._scripts = 0
        self._told = self._read_output = self._read_console = 0
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._prepare()
            command = _command(self._job, control.fileno(), host.memory, host.life)
            self._began = time.monotonic()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._console,
                pass_fds=[control.fileno()],
            )
        except BaseException:
            self.close()
            raise
        finally:
            control.close()

    def _prepare(self) -> None:
        (self._job / "uml").mkdir()
        for name in _SCRIPTS:
            shutil.copy(HERE / name, self._job / name)
        (self._job / "stage1").chmod(0o755)
        if self.host.systemd:
            _units(self._job / "files" / "etc")
        if self.host.files is not None:
            shutil.copytree(self.host.files, self._job / "files", symlinks=True, dirs_exist_ok=True)
            (self._job / "files").chmod(0o755)  # it becomes that of /
        settings = {
            "LOWER": self.host.lower or str(debian.root()),
            "STORE": str(images.store()) if images.PYCONTAIN.exists() else "",
            "BOOT": "systemd" if self.host.systemd else "sh",
            "BIND": ",".join(self.host.binds),
            "CHECKOUT": str(CHECKOUT),
        }
        text = "".join(f"{key}={shlex.quote(value)}\n" for key, value in settings.items())
        (self._job / "settings").write_text(text)

    @property
    def left(self) -> float:
        """Seconds until it is killed in any case."""
        return self._began + self.host.life - time.monotonic()

    def run(self, script: str, timeout: float | None) -> Result:
        began = time.monotonic()
        # The time limits are timeout(1)'s, here of the host; this is for the case that they fail.
        end = self._began + self.host.life + GRACE
        answer: str | None = "ready"
        if not self._scripts:
            answer = self._answer(end)
            self.host.boot_seconds = time.monotonic() - self._began
            boots.append((self.host.systemd, self.host.boot_seconds))
        self._scripts += 1
        name = f"script{self._scripts}"
        if answer is not None:
            (self._job / name).write_text(script)
            limit = "0" if timeout is None else f"{timeout:g}"
            wait = end if timeout is None else min(end, time.monotonic() + timeout + GRACE)
            answer = self._ask(f"{name} {limit}", wait)
        ending = "" if answer is not None else self._end()
        status = DIED if answer is None else int(answer.split()[1])
        output, self._read_output = _rest(self._output, self._read_output)
        console, self._read_console = _rest(self._console, self._read_console)
        seconds = time.monotonic() - began
        if ending:
            lived = time.monotonic() - self._began
            console += f"test host: the job has no exit status, the host lived {lived:.1f} s: {ending}\n"
        return Result(status, output, console.replace("\r\n", "\n"), seconds)

    def _ask(self, line: str, deadline: float) -> str | None:
        try:
            self._control.sendall(line.encode() + b"\n")
        except OSError:
            return None
        return self._answer(deadline)

    def _answer(self, deadline: float) -> str | None:
        """The next line that the host says; None when it is dead, silent for too long, or writes without end."""
        while b"\n" not in self._received:
            ready = select.select([self._control], [], [], 0.1)[0]
            self._tell()
            if ready:
                data = self._control.recv(4096)
                if not data:
                    self._gone = True
                    return None
                self._received += data
            elif self._written() > OUTPUT_LIMIT or time.monotonic() > deadline:
                return None
        self._tell()
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def _written(self) -> int:
        return os.fstat(self._output.fileno()).st_size + os.fstat(self._console.fileno()).st_size

    def _tell(self) -> None:
        if self.host.echo:
            text, self._told = _rest(self._output, self._told)
            sys.stdout.write(text)
            sys.stdout.flush()

    def _end(self) -> str:
        """Make sure that it is dead; the reason in words."""
        written, lived = self._written(), time.monotonic() - self._began
        status = self._kill()
        self.alive = False
        if written > OUTPUT_LIMIT:
            return f"killed, because it wrote more than {OUTPUT_LIMIT >> 20} MiB"
        if lived >= self.host.life:
            return f"killed after its time limit of {self.host.life:g} s"
        if status == -signal.SIGKILL:
            return "killed, because it did not answer"
        return f"ended with status {status}"

    def _kill(self) -> int | None:
        if self._process is None:
            return None
        try:
            # one whose kernel has ended is gone in a moment, and has a status to tell
            self._process.wait(30 if self._gone else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self._process.wait()

    def close(self) -> None:
        self.alive = False
        self._kill()
        self._control.close()
        self._output.close()
        self._console.close()
        shutil.rmtree(self._job, ignore_errors=True)


def _rest(file: BinaryIO, start: int) -> tuple[str, int]:
    """The text of a file from a place on, and the place of its end."""
    data = os.pread(file.fileno(), OUTPUT_LIMIT, start)
    return data.decode("utf-8", "replace"), start + len(data)


def run(
    script: str,
    *,
    memory: str = "512M",
    timeout: float = 120.0,
    binds: Sequence[str] = (),
    systemd: bool = False,
    lower: str | None = None,
    echo: bool = False,
) -> Result:
    """Run a shell script as root in a host of its own and wait for its end; see Host.

    timeout: seconds after which the host and all its processes are killed.

    Raises CannotRun and NotReady.
    """
    host = Host(memory=memory, binds=binds, systemd=systemd, lower=lower, echo=echo, life=timeout)
    with host:
        began = time.monotonic()
        result = host.run(script, timeout=None)
        return Result(result.status, result.output, result.console, time.monotonic() - began)
