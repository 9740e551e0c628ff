"""A container whose command is an init that boots a system: what it needs beside what every container has.

It needs no privileges for that: its user namespace is its own, so its cgroup can be given to it, the settings below
/proc/sys that the kernel keeps for each network are its own, and reboot(2) is the end of its own PID namespace.
"""

from __future__ import annotations

import os

from pycontain.engine import confinement, lxcfs
from pycontain.kernel import capability
from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.engine.record import Record
    from pycontain.engine.request import Request
    from pycontain.engine.userns import Userns
    from pycontain.image.find import Image

#: systemd(1): SIGRTMIN+3 halts.
_HALT = 37
#: Where its init finds the socket that it says READY=1 to; systemd's own manager of containers has it there.
NOTIFY = "/run/host/notify"
#: Settings of a user namespace's and of a network namespace's own: the kernel lets their root change them alone.
_OWN_SYSCTLS = ("user", "net")


def wanted(request: Request, space: Userns) -> bool:
    """Whether a system is to boot, where it may (spec.may_boot). Raises UsageError where it cannot but has to."""
    problem = ""
    if request.init:
        problem = "--init: pycontain's own init would be PID 1"
    elif space.maps is None or space.joined:
        problem = "--userns: a system that boots needs a user namespace of its own, such as --userns auto"
    elif "pid" in request.host_namespaces:
        problem = "--pid host: its init would not be PID 1"
    if problem and request.systemd == "always":
        raise UsageError(f"--systemd always cannot be with {problem}")
    return not problem


def prepare(request: Request, image: Image, record: Record) -> None:
    """Change what is asked for, before the spec is made of it."""
    dropped = {capability.canonical(name, "--cap-drop") for name in request.cap_drop if name.upper() != "ALL"}
    if not request.privileged and "CAP_SYS_BOOT" not in dropped:
        request.cap_add = [*request.cap_add, "SYS_BOOT"]
        record.capabilities = confinement.capabilities(request)
    if request.stop_signal is None and not image.config.get("StopSignal"):
        record.stop_signal = _HALT
    request.env.setdefault("container", "pycontain")
    request.env.setdefault("container_uuid", uuid(record.id))
    request.env.setdefault("NOTIFY_SOCKET", NOTIFY)


def uuid(container_id: str) -> str:
    """What becomes the machine-id of a system that has none yet (machine-id(5))."""
    one = container_id
    return f"{one[:8]}-{one[8:12]}-{one[12:16]}-{one[16:20]}-{one[20:32]}"


def _tmpfs(target: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", *options]}


def adapt(spec: dict[str, Any], record: Record, run_directory: str) -> None:
    """Mounts and paths for an init, put into its spec. run_directory: of the container, with its sockets."""
    ours = [
        _tmpfs("/run", "mode=755"),
        _tmpfs("/run/lock", "noexec", "mode=1777", "size=5120k"),
        _tmpfs("/tmp", "mode=1777"),
        {
            "destination": NOTIFY,
            "type": "bind",
            "source": f"{run_directory}/notify",
            "options": ["bind", "rprivate", "nosuid", "nodev", "noexec"],
        },
        *lxcfs.mounts(),
    ]
    taken = {mount["destination"].rstrip("/") for mount in spec["mounts"]}
    # after /proc, and before whatever the user has below them
    spec["mounts"][1:1] = [mount for mount in ours if mount["destination"] not in taken]
    for mount in spec["mounts"]:
        if mount["type"] == "cgroup":
            mount["options"] = ["rw" if option == "ro" else option for option in mount["options"]]
    linux = spec["linux"]
    if "/proc/sys" in linux["readonlyPaths"]:
        network = {"type": "network"} in linux["namespaces"]
        linux["readonlyPaths"].remove("/proc/sys")
        linux["readonlyPaths"] += _shared_sysctls(network)


def _shared_sysctls(network: bool) -> list[str]:
    """What is below /proc/sys, without what is the container's own."""
    own = _OWN_SYSCTLS if network else _OWN_SYSCTLS[:1]
    return [f"/proc/sys/{name}" for name in sorted(os.listdir("/proc/sys")) if name not in own]
