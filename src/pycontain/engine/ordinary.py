"""info for an ordinary user: what containers without root need, what of it is missing, and which command gives it."""

from __future__ import annotations

import os

from pycontain.cgroup import hierarchy
from pycontain.engine import delegation
from pycontain.engine.facts import Fact, Section
from pycontain.engine.request import Request
from pycontain.kernel import config, rootless, rootless_hints
from pycontain.kernel.errors import Error
from pycontain.network import usermode

_FUSE = "/dev/fuse"


def sections() -> list[Section]:
    """One for who is not root, none for root."""
    if rootless.user() < 0:
        return []
    return [Section("Rootless", [_namespace(), *_settings(), *_ids(), *_network(), _fuse(), _cgroup()])]


def _namespace() -> Fact:
    problem = rootless.problem()
    return Fact("User namespace", not problem, problem)


def _settings() -> list[Fact]:
    return [
        Fact(name, good, "" if good else f"no user namespace can be made: as root: {command}")
        for name, good, command in rootless_hints.sysctls()
    ]


def _ids() -> list[Fact]:
    if rootless.problem():
        return []
    problem = ""
    counts = {kind: sum(size for _, _, size in rootless.mapped(kind)) for kind in ("uid", "gid")}
    if min(counts.values()) == 1:
        problem = f"containers have root alone, and images with other users do not work: {_single()}"
    return [
        Fact("Users", counts["uid"], problem),
        Fact(
            "Groups", counts["gid"], text=f"{counts['gid']}{'' if rootless.may_set_groups() else ' (setgroups denied)'}"
        ),
    ]


def _single() -> str:
    return rootless_hints.single(rootless.user())


def _network() -> list[Fact]:
    found = [name for name in usermode.PACKAGES if usermode.locate(name)]
    missing = "" if found else "containers have no network but none and host: as root: apt-get install passt"
    tun = usermode.tun_problem()
    return [Fact("Network programs", found, missing), Fact("/dev/net/tun", not tun, tun)]


def _fuse() -> Fact:
    """Only for file systems on which the kernel's own overlay does not work."""
    usable = os.access(_FUSE, os.R_OK | os.W_OK)
    program = usermode.locate("fuse-overlayfs")
    text = program or "not installed (apt-get install fuse-overlayfs)"
    if program and not usable:
        text += f", but {_FUSE} cannot be opened by this user (as root: chmod 666 {_FUSE})"
    return Fact("fuse-overlayfs", bool(program and usable), text=text)


def _cgroup() -> Fact:
    try:
        manager = delegation.manager(Request("", []), config.CGROUPFS)
        controllers = _controllers() if manager else []
    except (Error, OSError):
        manager, controllers = "", []
    if not manager:
        return Fact("Cgroup manager", None, f"no limits, pause or stats: {delegation.WHY}", "none")
    problem = ""
    missing = sorted({"cpu", "memory", "pids"} - set(controllers))
    if missing:
        problem = (
            f"no limits of {', '.join(missing)}: as root: mkdir -p /etc/systemd/system/user@.service.d && printf "
            "'[Service]\\nDelegate=cpu cpuset io memory pids\\n' >/etc/systemd/system/user@.service.d/delegate.conf && "
            "systemctl daemon-reload, then log in again"
        )
    return Fact("Cgroup manager", manager, problem, f"{manager} ({', '.join(controllers) or 'no controllers'})")


def _controllers() -> list[str]:
    """What the group above the containers' distributes."""
    from pycontain.kernel import files

    tree = hierarchy.find()
    above = delegation.place(tree)
    return files.read_text(f"{tree.directory(above)}/cgroup.controllers").split()
