"""Hooks that no launch plan executes: poststart when start has succeeded, poststop when delete has removed all.

The others are records of the plan (launch/hooks.py). What is executed is what config.json said at create.
"""

from __future__ import annotations

import os
import select
import time
from _signal import SIG_BLOCK, SIG_SETMASK, SIGKILL, pthread_sigmask

from pycontain.kernel import files
from pycontain.kernel.errors import Error, os_text
from pycontain.launch.hooks import PID_MARK, STATUS, Identity, compile_hooks, identity, state_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.launch.hooks import Entry
    from pycontain.oci.state import Container

#: Signals that a program finds at their default: all but those that are never another's.
_SIGNALS = [number for number in range(1, 65) if number not in (9, 19, 32, 33)]


def load(container: Container, kind: str) -> tuple[list[Entry], Identity]:
    """The hooks of one kind of a container that was created; none where its config.json cannot be read."""
    try:
        spec = files.read_json(container.path("config.json"))
        if type(spec) is not dict:
            return [], Identity(container.id, "/", "1.0.0", {})
        entries = compile_hooks(spec)[kind]
        return entries, identity(spec, container.id, str(container.facts.get("bundle") or "/"))
    except (OSError, Error):
        return [], Identity(container.id, "/", "1.0.0", {})


def run_all(entries: list[Entry], kind: str, who: Identity, pid: int) -> None:
    """Execute the hooks of one kind in their order. Raises Error with the first that fails."""
    state = state_text(who, STATUS[kind]).replace(PID_MARK, str(pid))
    for index, entry in enumerate(entries):
        problem = run_one(entry, state, who.bundle)
        if problem:
            raise Error(f"container {who.id}: hooks.{kind}[{index}]: {entry.path}: {problem}", 1)


def warn_all(entries: list[Entry], kind: str, who: Identity) -> list[str]:
    """Execute all of them, whatever fails; what has failed, in words."""
    state = state_text(who, STATUS[kind]).replace(PID_MARK, "0")
    problems = [(index, entry, run_one(entry, state, who.bundle)) for index, entry in enumerate(entries)]
    return [
        f"container {who.id}: hooks.{kind}[{index}]: {entry.path}: {text}" for index, entry, text in problems if text
    ]


def run_one(entry: Entry, state: str, directory: str) -> str:
    """Execute one hook with the state on its standard input; "" when it succeeds, else why not."""
    stdin = os.memfd_create("pycontain-state", os.MFD_CLOEXEC)
    output, writer = os.pipe()
    # a signal that cancels what we do waits until somebody would end the hook for it
    mask = pthread_sigmask(SIG_BLOCK, _SIGNALS)
    try:
        files.write_all(stdin, state.encode("utf-8", "surrogateescape"))
        os.lseek(stdin, 0, os.SEEK_SET)
        try:
            pid = _spawn(entry, stdin, writer, directory)
        except OSError as error:
            return os_text(error)
        os.close(writer)
        writer = -1
        return _judge(pid, output, entry.timeout, mask)
    finally:
        pthread_sigmask(SIG_SETMASK, mask)
        for fd in (stdin, output, writer):
            if fd >= 0:
                os.close(fd)


def _environment(entry: Entry) -> dict[str, str]:
    """As execve(2) gets it; of a name that is there twice the first, which is what getenv(3) finds."""
    result: dict[str, str] = {}
    for text in entry.env:
        name, _, value = text.partition("=")
        result.setdefault(name, value)
    return result


def _spawn(entry: Entry, stdin: int, output: int, directory: str) -> int:
    back = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    # what the caller left open for us is not the hook's
    inherited = [fd for fd in _open_descriptors() if fd > 2 and fd not in (stdin, output, back)]
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    for fd in inherited:
        os.set_inheritable(fd, False)
    try:
        os.chdir(directory)
        return os.posix_spawn(
            entry.path,
            entry.argv or [entry.path],
            _environment(entry),
            file_actions=actions,
            setpgroup=0,
            setsigdef=_SIGNALS,
            setsigmask=(),
        )
    finally:
        os.fchdir(back)
        os.close(back)


def _open_descriptors() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            os.fstat(int(name))
            found.append(int(name))
        except OSError:
            continue  # the one of the listing itself
    return found


def _judge(pid: int, output: int, timeout: int, mask: set[int]) -> str:
    """Wait for the end of a hook, with this signal mask; what it says meanwhile is read, and its last line told."""
    pidfd = os.pidfd_open(pid)
    said = b""
    try:
        pthread_sigmask(SIG_SETMASK, mask)
        end = time.monotonic() + timeout
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(output, select.POLLIN)
        os.set_blocking(output, False)
        while True:
            left = max(end - time.monotonic(), 0) * 1000 if timeout else None
            ready = [fd for fd, _ in poll.poll(left)]
            if output in ready:
                chunk = _read(output)
                said = (said + chunk)[-4096:]
                if not chunk:
                    poll.unregister(output)
            if pidfd in ready:
                said += _read(output)
                break
            if not ready and timeout:
                os.killpg(pid, SIGKILL)
                os.waitpid(pid, 0)
                return f"it was killed: it ran for longer than its timeout of {timeout} s"
    except BaseException:
        # we are to end, and so is it
        os.killpg(pid, SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(pidfd)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 0:
        return ""
    lines = said.decode("utf-8", "replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    how = f"it ended with status {code}" if code > 0 else f"it was killed by signal {-code}"
    return f"{how}: {last.strip()}" if last else how


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""
