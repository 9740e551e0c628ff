"""version: what this pycontain is made of, and whether its parts fit together."""

from __future__ import annotations

import fcntl
import os
import sys

from pycontain import __version__
from pycontain.engine.spec import VERSION as OCI_VERSION
from pycontain.kernel import files
from pycontain.kernel.errors import Error, os_text
from pycontain.launch.plan import VERSION as PROTOCOL
from pycontain.launch.plan import encode
from pycontain.launch.start import helper_path

# linux/memfd.h, fcntl.h
_MFD_ALLOW_SEALING = 0x2
_F_ADD_SEALS, _SEALS = 1033, 0x1 | 0x2 | 0x4 | 0x8
_OPEN_NULL = (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def check_helper() -> str:
    """What is wrong with the helper, "" where it takes the plans of this package: it is given an empty one."""
    path = helper_path()
    if not os.path.exists(path):
        return f"the helper {path} is missing: install pycontain again"
    plan = os.memfd_create("pycontain-plan", _MFD_ALLOW_SEALING)
    try:
        files.write_all(plan, encode([]))
        fcntl.fcntl(plan, _F_ADD_SEALS, _SEALS)
        pid = os.posix_spawn(path, ["pycontain-helper", "launch", str(plan)], {}, file_actions=[_OPEN_NULL])
        _, status = os.waitpid(pid, 0)
    except OSError as error:
        return f"the helper {path} cannot be executed: {os_text(error)}: install pycontain again"
    finally:
        os.close(plan)
    if status:
        return f"the helper {path} does not take plans of version {PROTOCOL}: it is of another version: install again"
    return ""


def versions() -> dict[str, Any]:
    """All versions. Raises Error where the helper is missing or does not fit."""
    problem = check_helper()
    if problem:
        raise Error(problem)
    uname = os.uname()
    return {
        "Pycontain": __version__,
        "Helper": helper_path(),
        "HelperProtocol": PROTOCOL,
        "OciVersion": OCI_VERSION,
        "Python": sys.version.split()[0],
        "Kernel": uname.release,
        "Machine": uname.machine,
    }
