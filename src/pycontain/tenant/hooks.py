"""Commands of the settings that run on the host before and after a start and a stop."""

from __future__ import annotations

import os
import subprocess
import sys

from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.tenant.hold import Tenant
    from pycontain.tenant.settings import Hooks

PRE_START, POST_START, PRE_STOP, POST_STOP = "pre-start", "post-start", "pre-stop", "post-stop"


def run(tenant: Tenant, hooks: Hooks, kind: str) -> None:
    """Each command by the host's shell, one after the other. Raises Error where one fails; the others do not run."""
    for command in getattr(hooks, kind.replace("-", "_")):
        status = _run(tenant, kind, command)
        if status:
            how = f"exit status {status}" if status > 0 else f"signal {-status}"
            raise Error(f"tenant {tenant.name}: hooks.{kind}: {command!r} has failed ({how})")


def run_late(tenant: Tenant, hooks: Hooks, kind: str) -> None:
    """As run, for what cannot be taken back any more: a failure is a warning."""
    try:
        run(tenant, hooks, kind)
    except Error as error:
        print(f"pycontain: warning: {error.message}", file=sys.stderr, flush=True)


def _run(tenant: Tenant, kind: str, command: str) -> int:
    from pycontain.engine import state

    environment = {
        **os.environ,
        "PYCONTAIN_TENANT": tenant.name,
        "PYCONTAIN_TENANT_ID": str(tenant.state.id),
        "PYCONTAIN_HOOK": kind,
        "PYCONTAIN_CONTAINER": tenant.state.container,
        "PYCONTAIN_PID": str(state.read_pid(tenant.paths, tenant.state.container)[0] or ""),
    }
    sys.stdout.flush()
    # what it prints is for people: standard output is the verb's own
    return subprocess.run(
        ["/bin/sh", "-c", command], env=environment, stdin=subprocess.DEVNULL, stdout=2, check=False, cwd="/"
    ).returncode
