"""What settings need of this host: devices, sources of mounts, sysctls that a namespace of the guest's has.

A start that would fail for want of them is refused where it can be still: by set, and by restart before it stops.
"""

from __future__ import annotations

import os
import stat

from pycontain.kernel.errors import Error, SpecError, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from pycontain.tenant.settings import Settings

#: Keys that are looked at.
KEYS = ("rights.devices", "features.fuse", "features.tun", "mounts", "sysctls")
#: As wish.py gives them.
_FEATURES = {"features.fuse": "/dev/fuse", "features.tun": "/dev/net/tun"}


def check(settings: Settings, keys: Collection[str] = KEYS) -> None:
    """Raises Error with the key of what is not there. keys: those of KEYS that are to be looked at."""
    if "rights.devices" in keys:
        for index, text in enumerate(settings.rights.devices):
            _device(f"rights.devices.{index}", text.partition(":")[0])
    for key, device in _FEATURES.items():
        if key in keys and getattr(settings.features, key.partition(".")[2]):
            _device(key, device)
    if "mounts" in keys:
        for index, one in enumerate(settings.mounts):
            _stat(f"mounts.{index}.source", one.source)
    if "sysctls" in keys and settings.sysctls:
        _sysctls(settings)


def _stat(key: str, path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise Error(f"{key}: {path}: {os_text(error)}") from None


def _device(key: str, path: str) -> None:
    mode = _stat(key, path).st_mode
    if not stat.S_ISCHR(mode) and not stat.S_ISBLK(mode):
        raise Error(f"{key}: {path} is not a device")


def _sysctls(settings: Settings) -> None:
    """Those that the launch takes: of namespaces that the guest has for itself."""
    from pycontain.launch.namespaces import TYPES, Namespaces
    from pycontain.launch.sysctl import compile_sysctls

    spaces = Namespaces()
    for kind, bit in TYPES.items():
        if kind != "user" or not settings.rights.privileged_ids:
            spaces.new |= bit
    for key, value in settings.sysctls.items():
        try:
            compile_sysctls({"sysctl": {key: value}}, spaces)
        except SpecError as error:
            raise Error(f"sysctls.{key}: {error.problem}") from None
