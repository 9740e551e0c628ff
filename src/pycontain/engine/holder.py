"""The root of a container that does not run, mounted in a namespace that nobody else sees, for as long as it is needed.

A process waits at a gate in that namespace; this one becomes the helper that makes it, and comes back to Python beside
it, with the root as a descriptor. The container's lock is held meanwhile.
"""

from __future__ import annotations

import os

from pycontain.engine import interpreter, load, state
from pycontain.engine.claim import Claim, claim_or_refuse
from pycontain.engine.paths import Paths
from pycontain.engine.start import root_ops
from pycontain.kernel.errors import Error, os_text
from pycontain.launch import namespaces as ns
from pycontain.launch import start as helper
from pycontain.launch.mounts import MS_REC, MS_SLAVE, Around, compile_mounts
from pycontain.launch.ops import FAIL, GUEST, HOST, Clone, Exec, Gate, Handover, Op
from pycontain.launch.ops_mounts import Bind, Propagation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn


def running_root(paths: Paths, container_id: str) -> int:
    """A descriptor of the root of a container that runs. Raises Error."""
    pid, pidfd = state.open_init(paths, container_id)
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # while it lives its number is its own, so what was opened is its root
        os.stat(f"/proc/{pid}/root/")
        import signal

        signal.pidfd_send_signal(pidfd, 0)
        return root
    except OSError as error:
        raise Error(f"container {container_id[:12]}: cannot open its root: {os_text(error)}") from None
    finally:
        os.close(pidfd)


def become(
    paths: Paths,
    container_id: str,
    what: str,
    module: str,
    arguments: Sequence[str],
    *,
    binds: bool = False,
    locked: bool = False,
) -> NoReturn:
    """Become what holds the root, and come back as ``module``'s main() beside it, with ``arguments`` (Held).

    what: is to be done with the container, for errors. binds: what its spec binds is to be there, too. locked: the
    caller has its lock already, and keeps it. Descriptors that are inheritable are still there. Raises Error.
    """
    from _socket import AF_UNIX, SOCK_SEQPACKET, socket

    held = None if locked else claim_or_refuse(paths, container_id, what)
    try:
        record = load.read_record(paths, container_id)
        inside = _binds(load.read_spec(paths, container_id), paths.run(container_id)) if binds else []
        gate = socket(AF_UNIX, SOCK_SEQPACKET)
        gate.bind(b"")  # an address of its own: nobody is to connect
        gate.listen(1)
        os.set_inheritable(gate.fileno(), True)
        lock = held.inherit() if held else -1
        again = [str(lock), paths.root, paths.run_root, container_id, *arguments]
        plan = helper.plan_fd()
        failed = interpreter.argv("pycontain.engine.explain", str(plan), f"container {record.name}", paths.root)
        before, root = root_ops(paths, record, [])
        records = [
            *((HOST, op) for op in before),
            (HOST, Clone(ns.NEWNS, die=True)),
            *((GUEST, op) for op in (Propagation(MS_SLAVE | MS_REC), root, *inside)),
            (GUEST, Gate(gate.fileno())),
            (GUEST, Exec(["-"], [])),
            (HOST, Handover(interpreter.argv(module, *again))),
            (FAIL, Handover(failed)),
        ]
        helper.launch(records, plan)
    except BaseException:
        if held:
            held.release()
        raise
    raise AssertionError("execve returned")


def _binds(spec: dict[str, Any], run_directory: str) -> list[Op]:
    """run_directory: what is in it is there while the container runs only."""
    spec = {**spec, "mounts": [one for one in spec["mounts"] if not _below(one, run_directory)]}
    spaces = ns.compile_namespaces(spec["linux"])
    spaces.new &= ~ns.NEWUSER  # it is made in none: all sources are there
    return [op for op in compile_mounts(_as_on_disk(spec), Around("/", spaces)) if isinstance(op, Bind)]


def _below(mount: dict[str, Any], directory: str) -> bool:
    return str(mount.get("source", "")).startswith(f"{directory}/")


def _as_on_disk(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec whose mounts have the owners that are on the disk: those that the container sees, too."""
    mounts = []
    for mount in spec["mounts"]:
        options = [option for option in mount.get("options", ()) if option != "idmap"]
        mounts.append({**mount, "options": options})
    return {**spec, "mounts": mounts}


class Held:
    """In the process that become() leads to. arguments: those that become() was given."""

    def __init__(self, arguments: Sequence[str]) -> None:
        lock, root, run_root, self.container_id, *self.arguments, pid = arguments
        self.paths = Paths(root, run_root)
        self.claim = Claim(self.paths, self.container_id, int(lock)) if int(lock) >= 0 else None
        self.pid = int(pid)
        if self.claim:
            os.set_inheritable(self.claim.fd, False)

    def root(self) -> int:
        """A descriptor of the container's root, as it is on the disk. Raises OSError."""
        # seen with the mounts of the holder's namespace
        path = f"/proc/{self.pid}/root{self.paths.container(self.container_id)}/root"
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def end(self, status: int) -> NoReturn:
        """The root goes, and this process."""
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        if self.claim:
            self.claim.release()
        os._exit(status)


def lend_ids(uid: int, gid: int) -> None:
    """Write as this user of the host from now on, to whom nothing is refused: what is not mapped makes no files."""
    import prctl

    os.setegid(gid)
    os.seteuid(uid)
    # the effective capabilities have gone with the effective user, the permitted ones have not
    for name in ("chown", "dac_override", "dac_read_search", "fowner", "fsetid"):
        setattr(prctl.cap_effective, name, True)
