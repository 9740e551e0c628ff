"""What the monitor becomes when a guest has asked for a reboot: its container made anew, and started in place."""

from __future__ import annotations

import os
import time

from pycontain.engine import again as engine_again
from pycontain.engine import record as records
from pycontain.engine import state as states
from pycontain.engine.claim import Claim
from pycontain.engine.paths import Paths
from pycontain.engine.remake import remake
from pycontain.engine.start import Attachment, start
from pycontain.kernel import config, inotify
from pycontain.kernel.errors import Error
from pycontain.tenant import machined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.engine.create import Made

#: The helper leaves no other descriptor open (op_restart).
_LOCK = 3
#: So long, in seconds, it waits for a verb that works on the tenant; a stop would wait for us meanwhile.
_PATIENCE = 2.0
#: So long, in seconds, somebody waits for the next init, to tell machined of it.
_BIRTH = 60.0


def main(arguments: Sequence[str]) -> None:
    """ROOT RUN-ROOT ID ["service"]. Returns never. Settings that cannot be used keep nobody from a reboot: the old
    ones serve.
    """
    root, run_root, container_id, *rest = arguments
    paths = Paths(root, run_root)
    os.set_inheritable(_LOCK, False)
    try:
        made = _made(paths, container_id)
    except (Error, OSError):
        engine_again.main(arguments)
        return
    try:
        made.record = records.change_count(paths, container_id, 1)
        how = Attachment(False)
        how.service = rest == ["service"]
        if how.service and machined.present():
            _announce(paths, made.record.tenant, container_id)
        start(paths, made, how, fresh=False)
    except (Error, OSError):
        os._exit(1)


def _announce(paths: Paths, name: str, container_id: str) -> None:
    """machined is told of the next init when there is one, by a process that nobody waits for."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        if os.fork() == 0:
            os.close(_LOCK)
            if _next_init(paths, container_id):
                from pycontain.tenant import supervise
                from pycontain.tenant.place import Tenants

                supervise.register(Tenants(paths), name, container_id)
    finally:
        os._exit(0)


def _next_init(paths: Paths, container_id: str) -> bool:
    """Whether an init has come; the last one's file is gone by now."""
    import select

    with inotify.Inotify() as watch:
        watch.add(paths.run(container_id), inotify.MOVED_TO | inotify.DELETE_SELF)
        deadline = time.monotonic() + _BIRTH
        while not states.read_pid(paths, container_id)[0]:
            left = deadline - time.monotonic()
            if left <= 0 or not os.path.isdir(paths.run(container_id)):
                return False
            poll = select.poll()
            poll.register(watch.fd, select.POLLIN)
            if poll.poll(1000 * left):
                watch.read()
    return True


def _made(paths: Paths, container_id: str) -> Made:
    """The container by the settings as they are now. Raises Error; the lock is ours still."""
    from pycontain.tenant import life
    from pycontain.tenant.hold import hold
    from pycontain.tenant.place import Tenants

    name = records.read_known(paths, container_id).tenant
    found = Tenants(paths).state(name)
    if found is None:
        raise Error(f"tenant {name}: it has no state")
    with hold(Tenants(paths, found.directory), name, _PATIENCE) as tenant:
        settings = tenant.settings()
        request = life.request_of(tenant, settings)
        # it stays where it is: in the unit of systemd that it was started in
        before = records.read_known(paths, container_id).cgroup
        if ":" not in before:
            request.cgroup_parent, request.cgroup_manager = os.path.dirname(before), config.CGROUPFS
        made = remake(paths, container_id, request, Claim(paths, container_id, os.dup(_LOCK)))
        life.begin(tenant, settings, made)
    os.close(made.claim.fd)
    made.claim.fd = _LOCK
    return made
