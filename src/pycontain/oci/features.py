"""features: what this runtime can do (runtime-spec, features.md). Every claim is read from the table that does it, or
is held against it by tests/unit/test_oci_features.py.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os

from pycontain import __version__
from pycontain.kernel import capability
from pycontain.kernel.errors import UsageError
from pycontain.launch import mounts
from pycontain.launch.namespaces import TYPES
from pycontain.launch.seccomp_rules import ACTIONS, FLAGS, OPERATORS
from pycontain.oci import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.oci.arguments import Call

#: The kinds of hooks that are executed: none yet.
HOOKS: tuple[str, ...] = ()
#: Actions that a filter may not have yet: nobody would listen.
REFUSED_ACTIONS = ("SCMP_ACT_NOTIFY",)
#: What the filters' compiler can answer for, by machine.
ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
#: config.md, "Linux mount options", and the recursive ones.
_OPTIONS = (
    "async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud mand noatime nodev nodiratime "
    "noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev "
    "rdiratime relatime remount rexec ridmap rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid "
    "rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared "
    "silent slave strictatime suid symfollow sync tmpcopyup unbindable"
).split()
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SECCOMP_SET_MODE_FILTER = 1


def show(_root: str, call: Call) -> int:
    """Print the document. Raises UsageError."""
    if call.words:
        raise UsageError("features: no arguments are expected", 1)
    print(json.dumps(document(os.uname().machine), indent=4))
    return 0


def document(machine: str) -> dict[str, Any]:
    """features.md for a machine as uname(2) names it."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": state.SPEC_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": [option for option in _OPTIONS if understood(option)],
        "linux": {
            "namespaces": sorted(TYPES),
            "capabilities": list(capability.NAMES),
            "cgroup": {"v1": False, "v2": True, "systemd": True, "systemdUser": False, "rdma": True},
            "seccomp": _seccomp(machine),
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": understood("idmap")}},
            "netDevices": {"enabled": False},
        },
        "annotations": {"pycontain.version": __version__},
        "potentiallyUnsafeConfigAnnotations": [],
    }


def understood(option: str) -> bool:
    """Whether a mount option is acted upon, rather than given to the file system as it is."""
    found = mounts.parse_options([option])
    return not found.data or option in mounts.SUPER


def _seccomp(machine: str) -> dict[str, Any]:
    actions = sorted(set(ACTIONS) - set(REFUSED_ACTIONS))
    return {
        "enabled": machine in ARCHITECTURES,
        "actions": actions,
        "operators": sorted(OPERATORS),
        "archs": sorted(ARCHITECTURES.get(machine, ())),
        "knownFlags": sorted(FLAGS),
        "supportedFlags": sorted(
            name
            for name, bit in FLAGS.items()
            if (not name.endswith("_WAIT_KILLABLE_RECV") or "SCMP_ACT_NOTIFY" in actions) and _kernel_has(bit, machine)
        ),
    }


def _kernel_has(flag: int, machine: str) -> bool:
    """seccomp(2) with a filter at address 0: EFAULT says that the flag was taken."""
    number = _SECCOMP.get(machine)
    if number is None:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(number, _SECCOMP_SET_MODE_FILTER, flag, None)
    return ctypes.get_errno() == errno.EFAULT
