"""One tenant for oneself: its lock, its state, and nothing of an interrupted verb left in it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib import import_module

from pycontain.engine import names
from pycontain.engine import state as containers
from pycontain.kernel.errors import Error
from pycontain.tenant import file, place, state
from pycontain.tenant.place import Missing, Tenants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain.engine.paths import Paths
    from pycontain.tenant.settings import Settings
    from pycontain.tenant.state import State

#: phase → module of this room and its function (Tenant) -> None that completes or undoes what was interrupted.
RECOVERIES = {
    state.CREATING: ("life", "undo_create"),
    state.DESTROYING: ("life", "finish_destroy"),
    state.RENAMING: ("rename", "recover"),
    state.SETTING: ("change", "undo"),
    state.IMPORTING: ("life", "undo_create"),
    state.SNAPSHOTTING: ("snapshot", "recover"),
    state.RESTORING: ("reroot", "recover"),
    state.REINSTALLING: ("reroot", "recover"),
    state.SUSPENDING: ("dump", "recover"),
}


class Tenant:
    """One tenant whose lock is held."""

    __slots__ = ("name", "state", "tenants")

    def __init__(self, tenants: Tenants, name: str, found: State) -> None:
        self.tenants = tenants
        self.name = name
        self.state = found

    @property
    def paths(self) -> Paths:
        return self.tenants.paths

    @property
    def path(self) -> str:
        """Of its settings file."""
        return self.tenants.settings_path(self.name)

    @property
    def directory(self) -> str:
        """Of its state."""
        return self.tenants.state_directory(self.name)

    @property
    def container(self) -> str:
        """The ID of its container. Raises Error where there is none."""
        if not self.state.container or not os.path.isdir(self.paths.container(self.state.container)):
            raise Error(
                f"tenant {self.name}: its container is gone: 'pycontain tenant doctor' says what can be done",
            )
        return self.state.container

    def settings(self) -> Settings:
        """What its file says now. Raises Error."""
        return file.read(self.path)

    def alive(self) -> bool:
        """Whether its container runs, frozen or not."""
        return bool(self.state.container) and containers.alive(self.paths, self.state.container)

    def save(self) -> None:
        """Raises Error."""
        self.tenants.write_state(self.name, self.state)

    def phase(self, name: str, **detail: object) -> None:
        """Say what is being done, before it is done. Raises Error."""
        self.state.phase, self.state.detail = name, dict(detail)
        self.save()

    def settle(self) -> None:
        """It is done. Raises Error."""
        self.phase(state.NONE)


@contextmanager
def hold(tenants: Tenants, text: str, seconds: float = place.PATIENCE) -> Iterator[Tenant]:
    """Take a tenant by name or number; what an interrupted verb has left is completed or undone first.

    Raises Missing, InUse, Error.
    """
    name = _find(tenants, text)
    with tenants.lock(name, seconds):
        found = _settled(tenants, name)
        if found is not None:
            yield found
            return
    # it was renamed, or it is gone, now that an interrupted verb is complete
    name = tenants.find(text)
    with tenants.lock(name, seconds):
        found = _settled(tenants, name)
        if found is None:
            raise Missing(f"no tenant {text!r}: an interrupted destroy was completed just now")
        yield found


def _find(tenants: Tenants, text: str) -> str:
    """As Tenants.find; the name that an interrupted rename was on its way to is known, too."""
    try:
        name = tenants.find(text)
        if os.path.isdir(tenants.state_directory(name)):
            return name
    except Missing:
        name = ""
    other = tenants.coming_as(text)
    if other:
        return other
    return name or tenants.find(text)


def refuse_orphan(tenants: Tenants, name: str) -> None:
    """Raises Error where a container has the tenant's name, and no state tells of it: its root may be all there is."""
    container = place.container_name(name)
    if names.owner(tenants.paths, container):
        raise Error(
            f"tenant {name}: its state is lost, and its container {container} is still there: put"
            f" {tenants.state_directory(name)}/state.json back"
        )


def _settled(tenants: Tenants, name: str) -> Tenant | None:
    """The tenant with no phase left, None where it has another name now, or is gone. Raises Error."""
    found = tenants.state(name)
    if found is None:
        if os.path.exists(tenants.settings_path(name)):
            refuse_orphan(tenants, name)
            found = state.State(directory=tenants.directory)  # as one whose making did not come further
            found.phase, found.detail = state.CREATING, {"made": False}
        else:
            tenants.discard(name)
            return None
    tenant = Tenant(tenants, name, found)
    if found.phase:
        recover(tenant)
        found = tenants.state(name)
        if found is None or found.phase:
            return None
        tenant = Tenant(tenants, name, found)
    if found.doing:
        found.doing = ""  # by somebody who is no more: we have the lock
        tenant.save()
    return tenant


def recover(tenant: Tenant) -> None:
    """Complete or undo what was interrupted. Raises Error."""
    known = RECOVERIES.get(tenant.state.phase)
    if known is None:
        raise Error(
            f"tenant {tenant.name}: it was interrupted in {tenant.state.phase!r}, which this pycontain does not know"
        )
    getattr(import_module(f"pycontain.tenant.{known[0]}"), known[1])(tenant)
