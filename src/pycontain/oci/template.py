"""spec: a config.json to begin with, as runc writes it."""

from __future__ import annotations

import json
import os

from pycontain.kernel.errors import Error, UsageError, os_text
from pycontain.oci.state import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.oci.arguments import Call

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
#: runc's; pycontain's own containers have more (engine/confinement.py).
_MASKED = (
    "/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats "
    "/proc/sched_debug /sys/firmware /proc/scsi"
)
_READ_ONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def write(_root: str, call: Call) -> int:
    """Write config.json into the bundle's directory; one that is there already is an error."""
    if call.words:
        raise UsageError("spec: no arguments are expected: give the directory with --bundle", 1)
    path = os.path.join(call.text("bundle"), "config.json")
    text = json.dumps(document(rootless=call.flag("rootless")), indent="\t")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text + "\n")
    except FileExistsError:
        raise Error(f"File {path} exists. Remove it first", 1) from None
    except OSError as error:
        raise Error(f"cannot write {path}: {os_text(error)}", 1) from None
    return 0


def document(*, rootless: bool) -> dict[str, Any]:
    """A shell in a read-only root; rootless: as the calling user alone, in the host's network."""
    linux: dict[str, Any] = {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "maskedPaths": _MASKED.split(),
        "readonlyPaths": _READ_ONLY.split(),
    }
    mounts = _mounts()
    if rootless:
        del linux["resources"]
        linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "network"]
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
        mounts = [_without_privilege(mount) for mount in mounts]
    return {
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [f"PATH={_PATH}", "TERM=xterm"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "pycontain",
        "mounts": mounts,
        "linux": linux,
    }


def _mount(target: str, kind: str, source: str, options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": options.split()}


def _mounts() -> list[dict[str, Any]]:
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        _mount("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
        _mount("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
        _mount("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
    ]


def _without_privilege(mount: dict[str, Any]) -> dict[str, Any]:
    """gid 5 is not mapped; sysfs belongs to the network namespace, which is the host's."""
    if mount["destination"] == "/sys":
        return _mount("/sys", "none", "/sys", "rbind nosuid noexec nodev ro")
    if mount["destination"] == "/dev/pts":
        return {**mount, "options": [option for option in mount["options"] if option != "gid=5"]}
    return mount
