"""Containers that are a tenant's: what would change or remove one is the tenant's verb."""

from __future__ import annotations

from pycontain.engine import names, record
from pycontain.kernel.errors import Error, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths

#: verb of containers → verb of tenants
_VERBS = {
    "rm": "destroy",
    "rename": "rename",
    "update": "set",
    "restart": "restart",
}


def tenant_of(paths: Paths, container_id: str) -> str:
    """The name of the tenant whose container it is, "" for none, and for a container that cannot be read."""
    try:
        return record.read(paths, container_id).tenant
    except (FileNotFoundError, Error):
        return ""


def refuse(paths: Paths, text: str, verb: str) -> None:
    """Raises UsageError where ``text`` names the container of a tenant; NotFound as names.find."""
    tenant = tenant_of(paths, names.find(paths, text))
    if tenant:
        raise UsageError(f"container {text} is tenant {tenant}'s: 'pycontain tenant {_VERBS[verb]} {tenant}'")
