"""start: open the gate at which a created container's init waits."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_STREAM, socket
from _struct import Struct

from pycontain.kernel import files
from pycontain.kernel.errors import Error, os_text
from pycontain.launch import explain
from pycontain.launch import start as helper
from pycontain.oci import hooks, kill, notify, signals, state
from pycontain.oci.state import CREATED, RUNNING, STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.oci.arguments import Call
    from pycontain.oci.state import Container

#: src/helper/launch.h, struct frame: type, record, error, len; the text follows.
_FRAME = Struct("=IIiI")
#: runc's words, which callers read.
_REFUSED = {
    STOPPED: "cannot start a container that has stopped",
    RUNNING: "cannot start an already running container",
}


def start(root: str, call: Call) -> int:
    """Open the gate; returns when the program runs. Raises Error with what the guest says otherwise."""
    container = state.find(root, call.id())
    _helpers_failure(container)
    status = container.status()
    if status != CREATED:
        raise Error(_REFUSED.get(status, f"cannot start a container in the {status} state") + f": {container.id}", 1)
    link = notify.listen(container) if notify.manager() else -1
    answer = _open_gate(container)
    if answer:
        raise Error(_words(container, answer), 1)
    _poststart(container)
    if link >= 0:
        _notify(container, link)
    return 0


def _notify(container: Container, link: int) -> None:
    """Become what waits until the program is ready; not where it has ended."""
    pidfd = container.pidfd()
    if pidfd >= 0:
        os.set_inheritable(pidfd, True)
        helper.become_helper(["notify", str(link), notify.manager(), str(pidfd), str(container.init()[0])])


def _poststart(container: Container) -> None:
    """Run these hooks; one that fails ends the container (runtime.md, "Lifecycle"). Raises Error."""
    entries, who = hooks.load(container, "poststart")
    if not entries:
        return
    try:
        hooks.run_all(entries, "poststart", who, container.init()[0])
    except Error:
        kill.everybody(container, signals.KILL)
        raise


def _helpers_failure(container: Container) -> None:
    """What init has answered to the helper, which opened the gate (src/helper/oci.c) and leaves the words to us."""
    path = container.path("failed")
    try:
        answer = files.read_bytes(path)
        os.unlink(path)
    except OSError:
        return
    raise Error(_words(container, answer), 1)


def _open_gate(container: Container) -> bytes:
    """What init says before it executes its program: nothing, or a frame that says why it cannot."""
    directory = os.open(container.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    link = socket(AF_UNIX, SOCK_STREAM)
    try:
        link.connect(f"/proc/self/fd/{directory}/start")
        _unlink(container)  # at once: who finds it says that the container was not started
        data = b""
        while chunk := link.recv(4096):
            data += chunk
        return data
    except ConnectionRefusedError:
        # a start that was killed before it could unlink it has opened the gate
        _unlink(container)
        raise Error(f"{_REFUSED[RUNNING]}: {container.id}", 1) from None
    except OSError as error:
        raise Error(f"cannot start container {container.id}: its init does not answer: {os_text(error)}", 1) from None
    finally:
        link.close()
        os.close(directory)


def _unlink(container: Container) -> None:
    try:
        os.unlink(container.path("start"))
    except FileNotFoundError:
        pass  # deleted meanwhile


def _words(container: Container, frame: bytes) -> str:
    what = f"container {container.id}"
    if len(frame) < _FRAME.size:
        return f"{what}: its init has ended"
    _, record, code, length = _FRAME.unpack_from(frame)
    detail = frame[_FRAME.size : _FRAME.size + length].decode(errors="replace")
    try:
        fd = os.open(container.path("plan"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return explain.sentence(what, None, code, detail)[0]
    try:
        return explain.sentence(what, explain.failed_op(fd, record), code, detail)[0]
    finally:
        os.close(fd)
