"""NOTIFY_SOCKET: the socket of the service manager that started us, and the one that a container has in its place."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_DGRAM, socket

from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.oci.state import Container

#: Where a container finds its socket, as runc has it.
DIRECTORY = "/run/notify"
NAME = "notify.sock"
_VARIABLE = "NOTIFY_SOCKET"


def manager() -> str:
    """The service manager's socket: a path or ``@NAME``; "" where nobody waits."""
    address = os.environ.get(_VARIABLE, "")
    return address if address[:1] in ("/", "@") and len(address) > 1 else ""


def offer(container: Container, spec: dict[str, Any]) -> None:
    """Give a container a directory in which the socket will be, and tell its program. Raises OSError.

    The socket itself is made by who starts it: create is over long before the program says anything.
    """
    process, mounts = spec.get("process"), spec.get("mounts") or []
    if type(process) is not dict or type(mounts) is not list or type(process.get("env") or []) is not list:
        return  # the compiler refuses it
    os.mkdir(container.path("notify"), 0o755)
    os.chmod(container.path("notify"), 0o755)
    entry = {"destination": DIRECTORY, "type": "bind", "source": container.path("notify")}
    entry["options"] = ["bind", "nosuid", "noexec", "nodev", "ro"]  # type: ignore[assignment]
    spec["mounts"] = [*mounts, entry]
    others = [text for text in process.get("env") or [] if not str(text).startswith(f"{_VARIABLE}=")]
    process["env"] = [*others, f"{_VARIABLE}={DIRECTORY}/{NAME}"]


def listen(container: Container) -> int:
    """A descriptor of the container's socket, which the helper inherits; -1 where it was made without. Raises Error."""
    try:
        directory = os.open(container.path("notify"), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1
    link = socket(AF_UNIX, SOCK_DGRAM)
    path = f"/proc/self/fd/{directory}/{NAME}"
    try:
        try:
            os.unlink(path)  # of a start that was killed
        except FileNotFoundError:
            pass
        link.bind(path)
        os.chmod(path, 0o666)  # its program may be any user
    except OSError as error:
        link.close()
        raise Error(f"container {container.id}: cannot make its notify socket: {os_text(error)}", 1) from None
    finally:
        os.close(directory)
    os.set_inheritable(link.fileno(), True)
    return link.detach()


def discard(container: Container) -> None:
    """Take away what offer and listen have made, if they have."""
    for remove, name in ((os.unlink, f"notify/{NAME}"), (os.rmdir, "notify")):
        try:
            remove(container.path(name))
        except OSError:
            pass
