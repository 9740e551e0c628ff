"""Dumps of tenants that are suspended on the disk: where they are, and what counts.

In a tenant's state directory:

```
dump/         with a tenant that does not run: it is suspended on the disk
    facts.json    what is not CRIU's: the groups below its own, its addresses, whether its init was up
dump.new/     being made
dump.used/    being restored from: nobody may go on from there a second time
dump.failed/  could not be restored: kept for who wants to look, until the next one
dump.log      what CRIU said when a dump did not come about
```
"""

from __future__ import annotations

import os

from pycontain.kernel.errors import InUse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain.tenant.doctor import Finding
    from pycontain.tenant.hold import Tenant
    from pycontain.tenant.place import Tenants

NAME, NEW, USED, FAILED, LOG = "dump", "dump.new", "dump.used", "dump.failed", "dump.log"
FACTS = "facts.json"
VERSION = 1


def there(tenant: Tenant) -> bool:
    """Whether it is suspended on the disk."""
    return os.path.isdir(f"{tenant.directory}/{NAME}") and not tenant.alive()


def refuse(tenant: Tenant, what: str) -> None:
    """Raises InUse for one that is suspended on the disk. what: would go wrong, "renamed"."""
    if there(tenant):
        raise InUse(
            f"tenant {tenant.name} is suspended on the disk, and cannot be {what}: 'pycontain tenant start"
            f" {tenant.name}' lets it go on, 'pycontain tenant stop {tenant.name}' gives up what it had in memory"
        )


def discard(tenant: Tenant, *names: str) -> None:
    """Dumps go, all where none is named. Raises Error."""
    from pycontain.engine import repair

    for name in names or (NAME, NEW, USED, FAILED, LOG):
        repair.remove_tree(f"{tenant.directory}/{name}")


def set_aside(tenant: Tenant) -> None:
    """Nobody goes on from it any more; it is kept for who wants to look. Raises Error."""
    for name in (NAME, USED):
        if os.path.isdir(f"{tenant.directory}/{name}"):
            discard(tenant, FAILED)
            os.rename(f"{tenant.directory}/{name}", f"{tenant.directory}/{FAILED}")


def is_aside(tenants: Tenants, name: str) -> bool:
    """Whether there is one that could not be restored. Takes no lock."""
    return os.path.isdir(f"{tenants.state_directory(name)}/{FAILED}")


def age(tenants: Tenants, name: str) -> float:
    """When it was suspended to the disk, in seconds since the epoch; 0 where it was not. Takes no lock."""
    try:
        return os.stat(f"{tenants.state_directory(name)}/{NAME}/{FACTS}").st_mtime
    except OSError:
        return 0.0


def check(tenants: Tenants) -> Iterator[Finding]:
    """For doctor: dumps that take room and are of no use any more."""
    from pycontain.tenant.doctor import Finding

    for name in tenants.kept():
        if is_aside(tenants, name):
            path = f"{tenants.state_directory(name)}/{FAILED}"
            said = "it could not go on from where it was suspended, and what it had in memory is kept in"
            yield Finding(name, f"{said} {path}", "remove that when nobody wants to look at it", note=True)
