"""Which tenant a process of the host's is in."""

from __future__ import annotations

import os

from pycontain.engine import names, owned
from pycontain.kernel import files
from pycontain.kernel.errors import Error, NotFound
from pycontain.tenant.place import EXIT_MISSING, Tenants

#: A systemd scope of a container's.
_PREFIX, _SUFFIX = "pycontain-", ".scope"


def of_pid(tenants: Tenants, pid: int) -> str:
    """The name of the tenant that a process is in, by its cgroup. Raises NotFound where it is in none, Error."""
    try:
        text = files.read_text(f"/proc/{pid}/cgroup")
    except (FileNotFoundError, ProcessLookupError):
        raise Error(f"there is no process {pid}") from None
    path = next((line[3:] for line in text.splitlines() if line.startswith("0::")), "")
    for part in path.split("/"):
        container = part.removeprefix(_PREFIX).removesuffix(_SUFFIX)
        if names.is_id(container) and os.path.isdir(tenants.paths.container(container)):
            name = owned.tenant_of(tenants.paths, container)
            if name:
                return name
    raise NotFound(f"process {pid} is in no tenant", EXIT_MISSING)
