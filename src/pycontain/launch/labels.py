"""AppArmor profiles and SELinux labels: ``process.apparmorProfile``, ``process.selinuxLabel``, ``linux.mountLabel``."""

from __future__ import annotations

import os

from pycontain.kernel import files
from pycontain.kernel.errors import SpecError
from pycontain.launch import reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.launch.ops import Op

_APPARMOR = "/sys/module/apparmor/parameters/enabled"
_SELINUX = "/sys/fs/selinux/enforce"
#: File systems that take a context at their mount.
_LABELLED = ("tmpfs", "devpts", "mqueue", "overlay", "ramfs")


def apparmor_enabled(path: str = _APPARMOR) -> bool:
    """Whether the running kernel confines by AppArmor."""
    try:
        return files.read_text(path).startswith("Y")
    except OSError:
        return False


def selinux_enabled(path: str = _SELINUX) -> bool:
    """Whether the running kernel has SELinux with a policy, enforced or not."""
    return os.path.exists(path)


def exec_labels(process: dict[str, Any], where: str) -> list[Op]:
    """The records of the process's labels. Raises SpecError where this host does not have what is to apply them."""
    from pycontain.launch.ops_spec import ExecLabel

    ops: list[Op] = []
    profile = reader.text(process, "apparmorProfile", where, "")
    # what every process has anyway needs no module
    if profile and profile != "unconfined":
        if not apparmor_enabled():
            raise SpecError(f"{where}.apparmorProfile", "AppArmor is not enabled on this host")
        ops.append(ExecLabel("apparmor/exec", f"exec {profile}"))
    elif profile and apparmor_enabled():
        ops.append(ExecLabel("apparmor/exec", "exec unconfined"))
    label = reader.text(process, "selinuxLabel", where, "")
    if label:
        if not selinux_enabled():
            raise SpecError(f"{where}.selinuxLabel", "SELinux is not enabled on this host")
        ops.append(ExecLabel("exec", label))
    return ops


def mount_label(linux: dict[str, Any]) -> str:
    """``linux.mountLabel``, "" for none. Raises SpecError where this host has no SELinux."""
    label = reader.text(linux, "mountLabel", "linux", "")
    if label and not selinux_enabled():
        raise SpecError("linux.mountLabel", "SELinux is not enabled on this host")
    return label


def with_context(type_: str, data: list[str], label: str) -> list[str]:
    """The options of a new file system with its context, unless they have one."""
    if not label or type_ not in _LABELLED or any(option.startswith("context=") for option in data):
        return data
    return [*data, f"context={label}"]
