"""checkpoint: the processes of a container into files, through CRIU."""

from __future__ import annotations

import fcntl
import os
import select
from contextlib import nullcontext

from pycontain.kernel import files
from pycontain.kernel.cancel import Held
from pycontain.kernel.errors import Error, UsageError, os_text
from pycontain.oci import criu, external, state
from pycontain.oci import criu_messages as messages
from pycontain.oci.criu_options import Options
from pycontain.oci.state import PAUSED, RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.oci.arguments import Call
    from pycontain.oci.state import Container

_LOG = "dump.log"
#: Seconds that a process may take to die once CRIU has killed it.
_PATIENCE = 30


def checkpoint(root: str, call: Call) -> int:
    """Save a container; without --leave-running it has stopped then. Raises Error; it goes on as it was then."""
    container = state.find(root, call.id())
    status = container.status()
    if status not in (RUNNING, PAUSED):
        raise Error(f"container {container.id} cannot be checkpointed in {status} state", 1)
    status_fd = _status_fd(call)
    options = Options(call, _LOG)
    server = _page_server(call)
    criu.check_version(options.program)
    pre_dump = call.flag("pre-dump")
    if pre_dump or call.text("parent-path"):
        criu.check_feature(options.program, "pre-dump" if pre_dump else "parent-path", criu.MEMORY_TRACKING)
    if call.flag("lazy-pages"):
        criu.check_feature(options.program, "lazy-pages", criu.LAZY_PAGES)
    _directory(options, call)
    if server:
        options.add("ps", server)
    _dump(container, options, call, status_fd)
    return 0


def _status_fd(call: Call) -> int:
    """The descriptor of --status-fd, -1 where there is none. Raises UsageError."""
    if not call.text("status-fd"):
        return -1
    fd = call.number("status-fd")
    try:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    except OSError as error:
        raise UsageError(f"invalid --status-fd argument {fd}: {os_text(error)}", 1) from None
    if flags & os.O_ACCMODE == os.O_RDONLY:
        raise UsageError(f"invalid --status-fd argument {fd}: not writable", 1)
    return fd


def _page_server(call: Call) -> bytes:
    """message criu_page_server_info. Raises UsageError."""
    text = call.text("page-server")
    if not text:
        return b""
    address, _, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    if not address or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise UsageError(f"--page-server {text!r}: Use --page-server ADDRESS:PORT to specify page server", 1)
    return messages.pair(address, int(port))


def _directory(options: Options, call: Call) -> None:
    """The image directory, and whether that of --parent-path is there. Raises Error."""
    try:
        os.makedirs(options.images, 0o700, exist_ok=True)
    except OSError as error:
        raise Error(f"--image-path {options.images}: {os_text(error)}", 1) from None
    parent = call.text("parent-path")
    if not parent:
        return
    if os.path.isabs(parent):
        raise UsageError("--parent-path must be relative", 1)
    if not os.path.isdir(f"{options.images}/{parent}"):
        raise Error(f"invalid --parent-path: {options.images}/{parent} is not a directory", 1)
    options.add("parent_img", parent)
    options.add("track_mem", 1)


def _dump(container: Container, options: Options, call: Call, status_fd: int) -> None:
    pre_dump = call.flag("pre-dump")
    stays = pre_dump or call.flag("leave-running")
    # Half a dump would leave the container's processes frozen, with CRIU's code in them, and its network locked:
    # signals wait for its end. But a server of pages stays until all have been asked for, and is to be interrupted.
    apart = not call.flag("lazy-pages")
    pid = container.init()[0]
    init = container.pidfd()
    what = f"container {container.id}: cannot checkpoint it"
    opened = options.open()
    try:
        spec = _describe(container, options, pid, pre_dump=pre_dump)
        options.configuration(spec)

        def notice(script: str, _pid: int, _descriptors: list[int]) -> None:
            if script == "status-ready" and status_fd >= 0:
                os.write(status_fd, b"\0")  # the server of pages can be asked

        with Held() if apart else nullcontext(), criu.Criu(options.program, apart=apart) as process:
            process.ask(messages.PRE_DUMP if pre_dump else messages.DUMP, options.request(), notice)
        if not stays and init >= 0:
            _wait(init, what)
    except criu.Failed as error:
        raise options.explain(what, error) from None
    finally:
        for fd in [*opened, init]:
            if fd >= 0:
                os.close(fd)


def _describe(container: Container, options: Options, pid: int, *, pre_dump: bool) -> dict[str, Any]:
    """What CRIU is told of the container; what restore needs goes beside CRIU's files. Raises Error."""
    try:
        spec = files.read_json(container.path("config.json"))
        spaces = external.namespaces(spec)
    except (OSError, AttributeError):
        raise Error(f"container {container.id}: its config.json is damaged: delete it with --force", 1) from None
    external.refuse_ids(spec, spaces)
    options.add("pid", pid)
    options.add("root", str(container.facts.get("rootfs") or "/"))
    if freezer := container.cgroup():
        options.add("freeze_cgroup", freezer)
    try:
        options.extend(external.left_alone(pid, spaces))
        if not pre_dump:
            mounts = external.host_paths(pid)
            names, outside = external.descriptors(pid)
            options.extend(external.mount_options({point: point for point in mounts}))
            options.extend([(messages.OPTIONS["external"], name) for name in outside])
            external.save(options.images, names, mounts)
    except FileNotFoundError:
        raise Error(f"container {container.id} has ended", 1) from None
    return dict(spec)


def _wait(init: int, what: str) -> None:
    """For the end of init, which CRIU has killed: the next verb is to find a container that has stopped."""
    poll = select.poll()
    poll.register(init, select.POLLIN)
    if not poll.poll(_PATIENCE * 1000):
        raise Error(f"{what}: it is saved, but its init still lives after {_PATIENCE} s", 1)
