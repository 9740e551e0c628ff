"""state, start, kill, delete, list, plan: what happens to a container that was created."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_STREAM, socket
from _struct import Struct

from pycontain.kernel import jsontext
from pycontain.kernel.errors import Error, NotFound, os_text
from pycontain.launch import explain, plan
from pycontain.launch.ops import SIDES
from pycontain.launch.start import run_helper
from pycontain.oci import create, hooks, state
from pycontain.oci.report import report
from pycontain.oci.state import CREATED, STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.oci.arguments import Call
    from pycontain.oci.state import Container

_SIGKILL = 9
#: src/helper/launch.h, struct frame: type, record, error, len; the text follows.
_FRAME = Struct("=IIiI")


def show_state(root: str, call: Call) -> int:
    print(jsontext.dumps(state.find(root, call.id()).document()))
    return 0


def start(root: str, call: Call) -> int:
    """Open the gate; returns when the program runs. Raises Error with what the guest says otherwise."""
    container = state.find(root, call.id())
    status = container.status()
    if status != CREATED:
        raise Error(f"cannot start container {container.id}: it is {status}, not created", 1)
    answer = _open_gate(container)
    os.unlink(container.path("start"))
    if answer:
        raise Error(_words(container, answer), 1)
    _poststart(container)
    return 0


def _poststart(container: Container) -> None:
    """Run these hooks; one that fails ends the container (runtime.md, "Lifecycle"). Raises Error."""
    entries, who = hooks.load(container, "poststart")
    if not entries:
        return
    try:
        hooks.run_all(entries, "poststart", who, container.init()[0])
    except Error:
        _kill_all(container, _SIGKILL)
        raise


def _open_gate(container: Container) -> bytes:
    """What init says before it executes its program: nothing, or a frame that says why it cannot."""
    directory = os.open(container.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    link = socket(AF_UNIX, SOCK_STREAM)
    try:
        link.connect(f"/proc/self/fd/{directory}/start")
        data = b""
        while chunk := link.recv(4096):
            data += chunk
        return data
    except OSError as error:
        raise Error(f"cannot start container {container.id}: its init does not answer: {os_text(error)}", 1) from None
    finally:
        link.close()
        os.close(directory)


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


def signal_number(text: str) -> int:
    """``9``, ``KILL`` or ``SIGKILL``. Raises Error."""
    if text.isascii() and text.isdigit() and int(text) <= 64:
        return int(text)
    import signal

    name = text.upper()
    found = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
    if isinstance(found, signal.Signals):
        return int(found)
    raise Error(f"{text!r} is not a signal", 1)


def kill(root: str, call: Call) -> int:
    """Send a signal to init, or with --all to every process."""
    if not 1 <= len(call.words) <= 2:
        raise Error("kill: a container ID and a signal are needed", 1)
    container = state.find(root, call.words[0])
    number = signal_number(call.words[1] if len(call.words) > 1 else "TERM")
    if call.flag("all"):
        _kill_all(container, number)
        return 0
    fd = container.pidfd()
    if fd < 0:
        raise Error(f"cannot kill container {container.id}: container not running", 1)
    import signal

    signal.pidfd_send_signal(fd, number)
    return 0


def _kill_all(container: Container, number: int) -> None:
    from pycontain.cgroup import group, hierarchy

    tree = hierarchy.find()
    try:
        with group.find(tree, tree.path(container.facts["cgroup"])) as found:
            if number == _SIGKILL:
                found.kill()
                return
            for pid in found.processes():
                os.kill(pid, number)
    except (NotFound, KeyError, ProcessLookupError):
        pass  # nobody is left: callers send --all to containers that have ended


def delete(root: str, call: Call) -> int:
    """Remove what create has made. Raises Error for a container that runs, unless --force."""
    container = state.Container(root, call.id())
    force = call.flag("force")
    try:
        container = state.find(root, call.id())
    except NotFound:
        if force:
            _remove(container)
            return 0
        raise
    except Error:
        if not force:
            raise
    status = container.status()
    if status != STOPPED:
        if not force:
            raise Error(f"cannot delete container {container.id} that is not stopped: {status}", 1)
        fd = container.pidfd()
        if fd >= 0:
            import signal

            signal.pidfd_send_signal(fd, _SIGKILL)
    _remove(container)
    return 0


def _remove(container: Container) -> None:
    from pycontain.cgroup import group, hierarchy

    poststop, who = hooks.load(container, "poststop")
    directory = container.facts.get("cgroup")
    if directory:
        tree = hierarchy.find()
        try:
            with group.find(tree, tree.path(directory)) as found:
                found.kill()
                found.remove()
        except NotFound:
            pass
    for path in container.facts.get("resctrl") or []:
        try:
            os.rmdir(path)
        except OSError:
            continue  # others are in the group
    if os.path.lexists(container.directory):
        run_helper(["rmtree", container.directory])
    for text in hooks.warn_all(poststop, "poststop", who):
        report(text, {}, "warning")


def show_list(root: str, call: Call) -> int:
    """All containers, as a table or (-f json) as an array."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        names = []
    documents = []
    for name in names:
        try:
            documents.append(state.find(root, name).document())
        except Error:
            continue
    if call.flag("quiet"):
        for document in documents:
            print(document["id"])
    elif call.text("format", "table") == "json":
        print(jsontext.dumps(documents))
    else:
        print(f"{'ID':<24}{'PID':<10}{'STATUS':<12}{'BUNDLE':<40}CREATED")
        for one in documents:
            bundle, created = one.get("bundle", ""), one.get("created", "")
            print(f"{one['id']:<24}{one['pid']:<10}{one['status']:<12}{bundle:<40}{created}")
    return 0


def show_plan(root: str, call: Call) -> int:
    """The launch plan of a bundle, one record a line: side, operation, what it does."""
    if len(call.words) > 1:
        raise Error("plan: one bundle directory is expected", 1)
    bundle = os.path.abspath(call.words[0] if call.words else call.text("bundle", "."))
    records = create.plan_of(create.read_bundle(bundle), bundle)
    plan.encode(records)  # what cannot be encoded is no plan
    if call.text("format", "text") == "json":
        rows = [
            {
                "side": SIDES[side],
                "op": op.name,
                "fields": {n: _plain(v) for (n, _), v in zip(op.fields, op.values, strict=True)},
            }
            for side, op in records
        ]
        print(jsontext.dumps(rows))
        return 0
    for side, op in records:
        print(f"{SIDES[side]:<6}{op.name:<18}{op.describe()}")
    return 0


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value
