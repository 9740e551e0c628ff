"""A disposable host: a User-mode Linux kernel that runs as a process, with all of cgroup v2.

Its root is a copy-on-write view of this machine's / (so the checkout and its interpreter are there), the copy being the
guest's memory. What a job writes is gone with the host, but for the directories given as binds.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
#: The host died or ran out of time: the job has no exit status of its own.
DIED = 125
#: Guest output beyond this is a runaway.
OUTPUT_LIMIT = 16 << 20
#: Directories over which stage2 mounts something of the guest's own.
_COVERED = ("/tmp", "/run", "/dev", "/mnt", "/job")
_PACKAGES = ("user-mode-linux", "busybox-static")


class CannotRun(Exception):
    """This machine cannot have a User-mode Linux host; the text says why."""


@dataclass(frozen=True)
class Result:
    """What a job came to.

    status: its exit status, DIED where it has none; then ``console`` ends with the reason. output: of the job. console:
    what the kernel, and systemd, have said. seconds: how long the host lived.
    """

    status: int
    output: str
    console: str
    seconds: float


def kernel() -> Path:
    """The kernel that runs as a process: $UML_KERNEL, or the one of Debian's package, installed where root may.

    Raises CannotRun.
    """
    chosen = Path(os.environ.get("UML_KERNEL", "/usr/bin/linux.uml"))
    if platform.machine() != "x86_64":
        raise CannotRun("User-mode Linux runs on x86-64 only")
    if os.geteuid() != 0:
        raise CannotRun("the test host wants root")
    if not chosen.exists():
        _install()
    if not chosen.exists():
        raise CannotRun(f"{chosen} is missing and cannot be installed: apt-get install {' '.join(_PACKAGES)}")
    return chosen


def _install() -> None:
    if not shutil.which("apt-get"):
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-qy", "--no-install-recommends", *_PACKAGES]):
        subprocess.run(["apt-get", *command], env=environment, stdout=sys.stderr, check=False, timeout=300)


def _preload(directory: Path) -> list[str]:
    """The environment that the kernel needs on this processor; see xstate.c. Raises CannotRun."""
    if " amx_tile" not in Path("/proc/cpuinfo").read_text():
        return []
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise CannotRun("this processor has AMX, for which the test host has to compile a shim: install a C compiler")
    library = directory / "xstate.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "xstate.c"), "-ldl"]
    subprocess.run(command, check=True)
    return ["env", f"LD_PRELOAD={library}"]


def _command(job: Path, settings: dict[str, str], memory: str, timeout: float) -> list[str]:
    processors = sorted(os.sched_getaffinity(0))
    return [
        # Whatever becomes of us: unshare dies, so the first process of its PID namespace dies, so all in there die.
        *("setpriv", "--pdeathsig", "KILL"),
        # Both sides of every ptrace on one processor: 3 to 6 times quicker.
        *("taskset", "-c", str(processors[os.getpid() % len(processors)])),
        *("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
        # The kernel must not be PID 1 (its panic aborts itself, which PID 1 ignores); timeout is.
        *("timeout", "-s", "KILL", f"{timeout:g}"),
        *_preload(job),
        str(kernel()),
        *(f"mem={memory}", "umid=uml", f"uml_dir={job}/uml"),
        *("quiet", "loglevel=1", "panic=-1", "noreboot", "con=null", "con0=null,fd:2", "con1=null,fd:1"),
        *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={job}/stage1"),
        *(f"{key}={value}" for key, value in settings.items()),
    ]


def run(
    script: str,
    *,
    memory: str = "512M",
    timeout: float = 120.0,
    binds: Sequence[str] = (),
    systemd: bool = False,
    lower: str = "/",
    echo: bool = False,
) -> Result:
    """Run a shell script as root in a host of its own and wait for its end.

    memory: of the guest, which holds what it writes as well. timeout: seconds after which the host and all its
    processes are killed. binds: ``HOST:GUEST`` directories that the guest may write. systemd: boot systemd as PID 1 and
    run the script as a unit, instead of the script alone. lower: what becomes /. echo: pass the output on as it comes.

    Raises CannotRun.
    """
    job = Path(tempfile.mkdtemp(prefix="pycontain-host-"))
    try:
        (job / "uml").mkdir()
        (job / "cmd").write_text(script)
        for name in ("stage1", "stage2"):
            shutil.copy(HERE / name, job / name)
        (job / "stage1").chmod(0o755)
        binds = [*binds, *([f"{CHECKOUT}:{CHECKOUT}"] if str(CHECKOUT).startswith(_COVERED) else [])]
        settings = {"JOB": str(job), "LOWER": lower, "BOOT": "systemd" if systemd else "sh", "BIND": ",".join(binds)}
        began = time.monotonic()
        output, console, ending = _follow(_command(job, settings, memory, timeout), timeout, echo)
        seconds = time.monotonic() - began
        try:
            status = int((job / "status").read_text())
        except (OSError, ValueError):
            status = DIED
            console += f"test host: the job has no exit status, the host lived {seconds:.1f} s: {ending}\n"
        return Result(status, output, console, seconds)
    finally:
        shutil.rmtree(job, ignore_errors=True)


def _follow(command: list[str], timeout: float, echo: bool) -> tuple[str, str, str]:
    """The job's output, the console's, and what the end looked like from outside."""
    # Files, not pipes: a guest that writes without end meets a limit, and nobody waits for an end of file.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as console:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=console)
        done = size = 0
        # The time limit inside is timeout(1)'s; this is for the case that it fails.
        deadline = time.monotonic() + timeout + 10
        try:
            while process.returncode is None and size <= OUTPUT_LIMIT and time.monotonic() < deadline:
                try:
                    process.wait(0.05)
                except subprocess.TimeoutExpired:
                    pass
                written = os.fstat(output.fileno()).st_size
                if echo and written > done:
                    sys.stdout.buffer.write(os.pread(output.fileno(), written - done, done))
                    sys.stdout.buffer.flush()
                    done = written
                size = written + os.fstat(console.fileno()).st_size
        finally:
            if process.poll() is None:
                process.kill()
            status = process.wait()
        texts = [os.pread(file.fileno(), OUTPUT_LIMIT, 0).decode("utf-8", "replace") for file in (output, console)]
    return texts[0], texts[1].replace("\r\n", "\n"), _ending(status, size, timeout)


def _ending(status: int, size: int, timeout: float) -> str:
    if size > OUTPUT_LIMIT:
        return f"killed, because it wrote more than {OUTPUT_LIMIT >> 20} MiB"
    if status in (124, 137, -signal.SIGKILL):
        return f"killed after its time limit of {timeout:g} s"
    return f"ended with status {status}"
