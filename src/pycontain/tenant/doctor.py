"""doctor: what is not as it should be, and the next step.

A check is a function (Tenants) -> findings; ``CHECKS`` has all of them, and other modules of this room add theirs.
"""

from __future__ import annotations

import os
from importlib import import_module

from pycontain.engine import lxcfs, names, owned, remove
from pycontain.image import find
from pycontain.kernel.errors import Error
from pycontain.tenant import file, place
from pycontain.tenant.place import Tenants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Limits of settings, by the controller that the kernel needs for them.
_CONTROLLERS = {
    "memory": ("memory.limit", "memory.swap", "memory.guarantee"),
    "cpu": ("cpu.cpus", "cpu.limit", "cpu.units"),
    "cpuset": ("cpu.mask", "cpu.nodes"),
    "pids": ("processes.max",),
    "io": ("io.weight", "io.read_bps", "io.write_bps", "io.read_iops", "io.write_iops"),
}


class Finding:
    """who: a tenant's name, "" for the host. problem: what is not right; step: what to do. note: it is no fault, but
    what somebody may wonder about.
    """

    __slots__ = ("note", "problem", "step", "who")

    def __init__(self, who: str, problem: str, step: str = "", note: bool = False) -> None:
        self.who = who
        self.problem = problem
        self.step = step
        self.note = note

    def record(self) -> dict[str, object]:
        """For ``--format json``."""
        return {"tenant": self.who or None, "problem": self.problem, "step": self.step or None, "note": self.note}

    def line(self) -> str:
        """For people."""
        where = f"tenant {self.who}" if self.who else "host"
        step = f": {self.step}" if self.step else ""
        return f"{'note: ' if self.note else ''}{where}: {self.problem}{step}"


#: module of this room, and its function.
CHECKS: list[tuple[str, str]] = [
    ("doctor", "check_lxcfs"),
    ("doctor", "check_controllers"),
    ("doctor", "check_settings"),
    ("doctor", "check_needs"),
    ("doctor", "check_states"),
    ("doctor", "check_phases"),
    ("doctor", "check_containers"),
    ("doctor", "check_templates"),
    ("doctor", "check_addresses"),
    ("doctor", "check_numbers"),
    ("doctor", "check_leftovers"),
    ("dumps", "check"),
    ("snapshots", "check"),
]


def examine(tenants: Tenants) -> list[Finding]:
    """All findings, faults first. A check that fails is a finding itself."""
    found: list[Finding] = []
    for module, function in CHECKS:
        try:
            found += getattr(import_module(f"pycontain.tenant.{module}"), function)(tenants)
        except (Error, OSError) as error:
            found.append(Finding("", f"cannot look ({function}): {error}"))
    return sorted(found, key=lambda one: one.note)


# --- the host -----------------------------------------------------------------------------------------------------


def check_lxcfs(tenants: Tenants) -> Iterator[Finding]:
    """Without it /proc inside shows the host's figures."""
    problem, step = lxcfs.problem() if tenants.names() else ("", "")
    if problem:
        yield Finding("", problem, step, note=True)


def check_controllers(tenants: Tenants) -> Iterator[Finding]:
    """Limits that are set and that this host cannot enforce."""
    from pycontain.cgroup import hierarchy
    from pycontain.tenant.settings import Settings, flat

    missing = set(_CONTROLLERS) - set(hierarchy.find().controllers)
    default = flat(Settings(version=1).plain())
    for name in tenants.configured() if missing else ():
        try:
            mine = flat(file.read(tenants.settings_path(name)).plain())
        except Error:
            continue
        for controller in sorted(missing):
            keys = [key for key in _CONTROLLERS[controller] if mine[key] != default[key]]
            if keys:
                problem = f"{', '.join(keys)}: not enforced: this host has no {controller} controller in cgroup v2"
                yield Finding(name, problem, "'pycontain info' says why", note=True)


def check_leftovers(tenants: Tenants) -> Iterator[Finding]:
    """Directories whose removal was interrupted."""
    for path in tenants.leftovers():
        yield Finding(
            "", f"{path} is left of a tenant whose removal was interrupted", "the next create or destroy removes it"
        )


# --- each tenant --------------------------------------------------------------------------------------------------


def check_settings(tenants: Tenants) -> Iterator[Finding]:
    """Settings that cannot be used, or that are not there."""
    for name in tenants.configured():
        try:
            file.read(tenants.settings_path(name))
        except Error as error:
            yield Finding(name, error.message, f"'pycontain tenant edit {name}'")
    for name in tenants.kept():
        if not os.path.exists(tenants.settings_path(name)) and not _changing(tenants, name):
            problem = f"{tenants.settings_path(name)} is gone"
            yield Finding(name, problem, f"write it anew, or 'pycontain tenant destroy {name}'")


def check_needs(tenants: Tenants) -> Iterator[Finding]:
    """Settings whose next start would fail for want of something of the host's."""
    from pycontain.tenant import needs

    for name in tenants.configured():
        try:
            settings = file.read(tenants.settings_path(name))
        except Error:
            continue
        try:
            needs.check(settings)
        except Error as error:
            yield Finding(name, f"its next start fails: {error.message}", f"'pycontain tenant edit {name}'")


def check_states(tenants: Tenants) -> Iterator[Finding]:
    """Settings without state, and state that cannot be read."""
    kept = tenants.kept()
    for name in tenants.configured():
        if name not in kept and not tenants.coming_as(name):
            yield Finding(name, "it has settings and no state", f"'pycontain tenant create {name}' makes it from them")
    for name in kept:
        try:
            tenants.state(name)
        except Error as error:
            step = f"move {tenants.state_directory(name)} away, and make it anew"
            yield Finding(name, error.message.partition(": 'pycontain")[0], step)


def check_phases(tenants: Tenants) -> Iterator[Finding]:
    """What an interrupted verb has left."""
    for name in tenants.kept():
        try:
            found = tenants.state(name)
        except Error:
            continue
        half_made = found is None and not os.path.exists(tenants.settings_path(name))
        what = (found.phase or found.doing) if found is not None else "creating" if half_made else ""
        if what and not tenants.working(name):
            problem = f"{what} was interrupted"
            yield Finding(name, problem, "the next verb that changes it completes or undoes it")


def check_containers(tenants: Tenants) -> Iterator[Finding]:
    """State without a container, and a container without a tenant."""
    known: set[str] = set()
    for name in tenants.kept():
        try:
            found = tenants.state(name)
        except Error:
            continue
        known.add(found.container if found is not None else "")
        if found is None or found.phase:
            continue
        if not found.container or not os.path.isdir(tenants.paths.container(found.container)):
            yield Finding(name, "its container is gone, and its files with it", f"'pycontain tenant destroy {name}'")
        elif owned.tenant_of(tenants.paths, found.container) != name:
            yield Finding(name, f"its container {found.container[:12]} is not marked as its own")
    kept = tenants.kept()
    for container, record in remove.all_records(tenants.paths):
        if record is not None and record.tenant and record.tenant not in kept and container not in known:
            step = f"make {tenants.state_directory(record.tenant)} from a backup"
            yield Finding("", f"container {record.name} is of tenant {record.tenant}, which does not exist", step)
        elif record is not None and record.tenant and container not in known and not _changing(tenants, record.tenant):
            owner = names.owner(tenants.paths, place.container_name(record.tenant))
            if owner != container:
                yield Finding(record.tenant, f"container {container[:12]} is its own, too", "'pycontain inspect' it")


def _changing(tenants: Tenants, name: str) -> bool:
    try:
        found = tenants.state(name)
    except Error:
        return True
    return found is None or bool(found.phase)


def check_templates(tenants: Tenants) -> Iterator[Finding]:
    """A template that is not in the store: what exists runs on, but nothing is made from it any more."""
    for name in tenants.configured():
        try:
            template = file.read(tenants.settings_path(name)).template
            if template and find.lookup(tenants.paths.root, template) is None:
                problem = f"its template {template} is not in the store"
                yield Finding(
                    name, problem, f"'pycontain image build {template}' where it ships with pycontain", note=True
                )
        except Error:
            continue


def check_addresses(tenants: Tenants) -> Iterator[Finding]:
    """An address that two have."""
    owners: dict[str, str] = {}
    for name in tenants.configured():
        try:
            devices = file.read(tenants.settings_path(name)).network
        except Error:
            continue
        for address, called in [(one, device.name) for device in devices for one in device.addresses]:
            other = owners.setdefault(address, name)
            if other != name:
                which = f"--ifname {called} " if called != devices[0].name else ""
                step = f"'pycontain tenant set {name} {which}--ip-del {address}'"
                yield Finding(name, f"its address {address} is tenant {other}'s, too", step)


def check_numbers(tenants: Tenants) -> Iterator[Finding]:
    """A number that two have, and settings with another number than the state."""
    owners: dict[int, str] = {}
    for name in tenants.kept():
        try:
            found = tenants.state(name)
            wanted = file.read(tenants.settings_path(name)).id
        except Error:
            continue
        if found is None:
            continue
        other = owners.setdefault(found.id, name)
        if other != name:
            yield Finding(name, f"its number {found.id} is tenant {other}'s, too")
        if wanted and wanted != found.id and not found.phase:
            step = f"'pycontain tenant set {name} id={found.id}'"
            yield Finding(name, f"its settings say number {wanted}, and it has {found.id}", step)
