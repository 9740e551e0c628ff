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
from pycontain.kernel.errors import Error, UsageError
from pycontain.launch import mounts
from pycontain.launch.hooks import KINDS
from pycontain.launch.namespaces import TYPES
from pycontain.launch.schedule import MEMORY_FLAGS, MEMORY_MODES
from pycontain.launch.seccomp_rules import ACTIONS, FLAGS, OPERATORS
from pycontain.oci import criu, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.oci.arguments import Call

#: Flags of the super block, which go to the file system by these names.
SUPER = ("sync", "dirsync", "lazytime", "mand")
#: What the filters' compiler can answer for, by machine.
ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
#: config.md, "Linux mount options", the recursive ones, and one of crun's.
_OPTIONS = (
    "async atime bind copy-symlink defaults dev diratime dirsync exec "
    "idmap iversion lazytime loud mand noatime nodev nodiratime "
    "noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev "
    "rdiratime relatime remount rexec ridmap rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid "
    "rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared "
    "silent slave strictatime suid symfollow sync tmpcopyup unbindable"
).split()
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SECCOMP_SET_MODE_FILTER = 1
_NEW_LISTENER = 1 << 3


def show(_root: str, call: Call) -> int:
    """Print the document. Raises UsageError."""
    if call.words:
        raise UsageError("features: no arguments are expected", 1)
    print(json.dumps(document(os.uname().machine, call.globals.get("criu", "")), indent=4))
    return 0


def document(machine: str, criu_program: str = "") -> dict[str, Any]:
    """features.md for a machine as uname(2) names it; criu_program: what --criu says."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": state.SPEC_VERSION,
        "hooks": list(KINDS),
        "mountOptions": [option for option in _OPTIONS if understood(option)],
        "linux": {
            "namespaces": sorted(TYPES),
            "capabilities": list(capability.NAMES),
            "cgroup": {"v1": False, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": _seccomp(machine),
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": understood("idmap")}},
            "netDevices": {"enabled": True},
        },
        "annotations": {
            "pycontain.version": __version__,
            # runc's name for it
            "org.opencontainers.runc.checkpoint.enabled": "true" if _checkpoint(criu_program) else "false",
        },
        # a file of settings that can name programs for CRIU, which is root
        "potentiallyUnsafeConfigAnnotations": ["org.criu.config"],
    }


def _checkpoint(program: str) -> bool:
    """Whether there is a CRIU that can be used."""
    try:
        criu.check_version(criu.find(program))
    except Error:
        return False
    return True


def understood(option: str) -> bool:
    """Whether a mount option is acted upon, rather than given to the file system as it is."""
    found = mounts.parse_options([option])
    return not found.data or option in SUPER


def _seccomp(machine: str) -> dict[str, Any]:
    return {
        "enabled": machine in ARCHITECTURES,
        "actions": sorted(ACTIONS),
        "operators": sorted(OPERATORS),
        "archs": sorted(ARCHITECTURES.get(machine, ())),
        "knownFlags": sorted(FLAGS),
        "supportedFlags": sorted(name for name, bit in FLAGS.items() if _kernel_has(bit, machine)),
    }


def _kernel_has(flag: int, machine: str) -> bool:
    """seccomp(2) with a filter at address 0: EFAULT says that the flag was taken."""
    if flag == FLAGS["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]:
        flag |= _NEW_LISTENER  # it is of no use alone, and refused
    number = _SECCOMP.get(machine)
    if number is None:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(number, _SECCOMP_SET_MODE_FILTER, flag, None)
    return ctypes.get_errno() == errno.EFAULT
