"""The root of a container that is restored, as CRIU wants it, in a mount namespace that ends with us.

CRIU mounts by path below it. Nobody is in the container yet; a link in its root that leads out of it is followed
inside, since what makes mount points has that root as its own.
"""

from __future__ import annotations

import fcntl
import os
import stat
from _socket import AF_INET, SOCK_DGRAM, socket
from _struct import Struct

from pycontain.kernel import libc
from pycontain.kernel.errors import Error, os_text
from pycontain.launch import reader
from pycontain.launch.namespaces import NEWNET
from pycontain.oci import external

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# linux/sockios.h, linux/if.h
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1
_REQUEST = Struct("16sH22x")


def enter(top: str, rootfs: str) -> str:
    """Go into a mount namespace of our own and mount the root at ``top``: CRIU wants it to be a mount point.

    Returns its real path. Raises Error.
    """
    try:
        os.mkdir(top, 0o700)
        top = os.path.realpath(top)
        libc.unshare(libc.NEWNS)
        # what the host unmounts meanwhile, we do not hold; a root that gets the host's mounts is to get them again
        libc.mount("none", "/", libc.SLAVE | libc.REC)
        libc.mount(rootfs, top, libc.BIND | libc.REC)
    except OSError as error:
        raise Error(f"root.path: cannot mount {rootfs} for CRIU: {os_text(error)}", 1) from None
    return top


def leave(top: str) -> None:
    """Unmount it: who waits for the container's end must not hold its root."""
    try:
        libc.unmount(top)
        os.rmdir(top)
    except OSError:
        pass  # the mount ends with us; the directory goes with the state


def mount_points(top: str, spec: dict[str, Any], bundle: str) -> None:
    """Make the mount points that are missing in the root, as create does. Raises Error.

    Those on another mount are there: CRIU restores what is in a tmpfs, and binds bring their own.
    """
    binds = external.bind_sources(spec, bundle)
    wanted: list[tuple[str, bool]] = []
    for mount in reader.tables(spec, "mounts", ""):
        target = external.mount_point(str(mount.get("destination") or ""))
        if any(target.startswith(f"{other}/") for other, _ in wanted):
            continue
        source = binds.get(target)
        try:
            plain = source is not None and not stat.S_ISDIR(os.stat(source).st_mode)
        except OSError as error:
            raise Error(f"mounts: {target}: {source}: {os_text(error)}", 1) from None
        wanted.append((target, plain))
    problem = _in_child(lambda: _make(top, wanted))
    if problem:
        raise Error(f"cannot make mount points in the root: {problem}", 1)


def _make(top: str, wanted: list[tuple[str, bool]]) -> None:
    os.chroot(top)
    os.chdir("/")
    for target, plain in wanted:
        if os.path.exists(target):
            continue
        os.makedirs(os.path.dirname(target) if plain else target, 0o755, exist_ok=True)
        if plain:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o755))


def loopback_up(pid: int) -> None:
    """As create has it: CRIU leaves a network namespace empty. Raises Error."""

    def up() -> None:
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        libc.setns(fd, NEWNET)
        link = socket(AF_INET, SOCK_DGRAM)
        _, flags = _REQUEST.unpack(fcntl.ioctl(link.fileno(), _GET_FLAGS, _REQUEST.pack(b"lo", 0)))
        fcntl.ioctl(link.fileno(), _SET_FLAGS, _REQUEST.pack(b"lo", flags | _UP))

    problem = _in_child(up)
    if problem:
        raise Error(f"cannot bring its loopback device up: {problem}", 1)


def _in_child(job: Callable[[], None]) -> str:
    """Do something in a process of its own; "" where that has succeeded, else the kernel's answer."""
    answer, question = os.pipe()
    pid = os.fork()
    if pid == 0:
        text = "it has failed"
        try:
            job()
            text = ""
        except OSError as error:
            text = f"{error.filename or ''}: {os_text(error)}".removeprefix(": ")
        finally:
            os.write(question, text.encode("utf-8", "backslashreplace"))
            os._exit(0)
    os.close(question)
    try:
        said = b""
        while chunk := os.read(answer, 4096):
            said += chunk
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(answer)
    return said.decode("utf-8", "replace") or ("" if code == 0 else f"its process has ended with {code}")
