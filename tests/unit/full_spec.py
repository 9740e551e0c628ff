"""A valid config.json that has every property which this host can have: what tests break in one place at a time."""

from __future__ import annotations

import json
from typing import Any

_HOOK = {"path": "/bin/true", "args": ["true", "x"], "env": ["A=b"], "timeout": 5}
_MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]

_SPEC: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "process": {
        "terminal": True,
        "consoleSize": {"height": 24, "width": 80},
        "user": {"uid": 1, "gid": 2, "umask": 0o22, "additionalGids": [5, 6]},
        "args": ["sh", "-c", "true"],
        "env": ["PATH=/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {
            name: ["CAP_KILL", "CAP_CHOWN"] for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}],
        "noNewPrivileges": True,
        "apparmorProfile": "unconfined",
        "selinuxLabel": "",
        "oomScoreAdj": 100,
        "scheduler": {
            "policy": "SCHED_DEADLINE",
            "nice": 0,
            "priority": 0,
            "flags": ["SCHED_FLAG_RESET_ON_FORK"],
            "runtime": 1,
            "deadline": 2,
            "period": 3,
        },
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0-1", "final": "1"},
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "name",
    "domainname": "domain",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755", "tmpcopyup"]},
        {
            "destination": "/data",
            "type": "bind",
            "source": "/srv",
            "options": ["rbind", "ridmap", "rro", "rslave"],
            "uidMappings": _MAP,
            "gidMappings": _MAP,
        },
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]},
        {"destination": "/data", "options": ["remount", "bind", "nosuid"]},
    ],
    "hooks": {
        kind: [_HOOK]
        for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    },
    "annotations": {"com.example": "value"},
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")],
        "uidMappings": _MAP,
        "gidMappings": _MAP,
        "timeOffsets": {"monotonic": {"secs": 5, "nanosecs": 6}, "boottime": {"secs": -1, "nanosecs": 0}},
        "devices": [
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0},
            {"path": "/dev/pipe", "type": "p"},
        ],
        "netDevices": {"lo": {"name": "moved"}},
        "cgroupsPath": "/test/path",
        "resources": {
            "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "access": "r"}],
            "memory": {"limit": 1 << 30, "reservation": 1 << 20, "swap": 1 << 31, "checkBeforeUpdate": True},
            "cpu": {
                "shares": 1024,
                "quota": 50000,
                "burst": 100,
                "period": 100000,
                "cpus": "0-1",
                "mems": "0",
                "idle": 0,
            },
            "pids": {"limit": 100},
            "blockIO": {
                "weight": 100,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}],
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
            "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 100}},
            "unified": {"memory.high": "1000000"},
        },
        "rootfsPropagation": "slave",
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/listener",
            "listenerMetadata": "text",
            "syscalls": [
                {
                    "names": ["read", "write"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 5, "valueTwo": 6, "op": "SCMP_CMP_MASKED_EQ"}],
                },
                {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"},
                {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
            ],
        },
        "sysctl": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "1000", "user.max_user_namespaces": "5"},
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "",
        "intelRdt": {
            "closID": "group",
            "l3CacheSchema": "L3:0=f",
            "memBwSchema": "MB:0=50",
            "schemata": ["L2:0=f"],
            "enableMonitoring": True,
        },
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
        "personality": {"domain": "LINUX32", "flags": []},
    },
}

#: Where the keys are names of the user's, not of the specification.
FREE = ("annotations", "linux.netDevices", "linux.sysctl", "linux.resources.rdma", "linux.resources.unified")


def full() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(_SPEC))
    return found


def paths(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The place of every value below a document."""
    if isinstance(value, dict):
        found = [place for key, item in value.items() for place in paths(item, (*at, key))]
    elif isinstance(value, list):
        found = [place for index, item in enumerate(value) for place in paths(item, (*at, index))]
    else:
        found = []
    return [at, *found] if at else found


def json_path(at: tuple[str | int, ...]) -> str:
    """As errors write it: linux.namespaces[2].path."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(".")


def get(document: Any, at: tuple[str | int, ...]) -> Any:
    for part in at:
        document = document[part]
    return document


def put(document: Any, at: tuple[str | int, ...], value: Any) -> None:
    get(document, at[:-1])[at[-1]] = value
