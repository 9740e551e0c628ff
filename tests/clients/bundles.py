"""Variations of what ``runc spec`` writes: each a name and what it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Spec = dict[str, Any]
Change = Callable[[Spec], object]

_CAPS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def _process(**members: Any) -> Change:
    return lambda spec: spec["process"].update(members)


def _linux(**members: Any) -> Change:
    return lambda spec: spec["linux"].update(members)


def _user(**members: Any) -> Change:
    return _process(user={"uid": 0, "gid": 0, **members})


def _caps(names: list[str], sets: tuple[str, ...] = _CAPS) -> Change:
    return _process(capabilities=dict.fromkeys(sets, names))


def _mount(destination: str, kind: str, source: str, *options: str) -> Change:
    entry = {"destination": destination, "type": kind, "source": source, "options": list(options)}
    return lambda spec: spec["mounts"].append(entry)


def _options(destination: str, *options: str) -> Change:
    def change(spec: Spec) -> None:
        for entry in spec["mounts"]:
            if entry["destination"] == destination:
                entry["options"] = list(options)

    return change


def _without(destination: str) -> Change:
    return lambda spec: spec.update(mounts=[one for one in spec["mounts"] if one["destination"] != destination])


def _shared(*kinds: str) -> Change:
    """Without namespaces of these kinds."""

    def change(spec: Spec) -> None:
        spaces = spec["linux"]["namespaces"]
        spec["linux"]["namespaces"] = [one for one in spaces if one["type"] not in kinds]
        if "uts" in kinds:
            del spec["hostname"]

    return change


def _joined(kind: str) -> Change:
    """The namespace of PID 1, by its path."""

    def change(spec: Spec) -> None:
        name = {"network": "net", "mount": "mnt"}.get(kind, kind)
        for one in spec["linux"]["namespaces"]:
            if one["type"] == kind:
                one["path"] = f"/proc/1/ns/{name}"
        if kind == "uts":
            del spec["hostname"]

    return change


def _mapped(spec: Spec) -> None:
    spec["linux"]["namespaces"].append({"type": "user"})
    for name in ("uidMappings", "gidMappings"):
        spec["linux"][name] = [{"containerID": 0, "hostID": 0, "size": 65536}]


def _rlimit(kind: str, soft: int, hard: int) -> Change:
    return _process(rlimits=[{"type": kind, "soft": soft, "hard": hard}])


def _filter(names: list[str], action: str, default: str = "SCMP_ACT_ALLOW", **more: Any) -> Change:
    rules = [{"names": names, "action": action, **more}]
    return _linux(seccomp={"defaultAction": default, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules})


def _device(path: str, kind: str, major: int, minor: int, **more: Any) -> Change:
    return _linux(devices=[{"path": path, "type": kind, "major": major, "minor": minor, **more}])


def _both(*changes: Change) -> Change:
    def change(spec: Spec) -> None:
        for one in changes:
            one(spec)

    return change


def _cgroup_rules(*rules: dict[str, Any]) -> Change:
    return _linux(resources={"devices": [{"allow": False, "access": "rwm"}, *rules]})


def table(state: str) -> dict[str, Change]:
    """All variations; state: a directory with tree/, tree/sub (a mount), file."""
    tree, file = f"{state}/tree", f"{state}/file"
    return {
        "plain": lambda spec: None,
        "user": _user(uid=1000, gid=1001),
        "user-groups": _user(uid=7, gid=8, additionalGids=[5, 10, 70000]),
        "root-groups": _user(additionalGids=[10, 20]),
        "umask": _user(umask=0o027),
        "user-with-caps": _both(_user(uid=1000, gid=1000), _caps(["CAP_NET_BIND_SERVICE", "CAP_CHOWN"])),
        "user-without-ambient": _both(
            _user(uid=1000, gid=1000), _caps(["CAP_CHOWN"], ("bounding", "effective", "permitted", "inheritable"))
        ),
        "no-capabilities": _process(capabilities={}),
        "many-capabilities": _caps(["CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_CHOWN", "CAP_NET_ADMIN", "CAP_SETUID"]),
        "bounding-only": _caps(["CAP_CHOWN", "CAP_MKNOD"], ("bounding",)),
        "effective-less": _both(
            lambda spec: spec["process"].update(
                capabilities={
                    "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_MKNOD"],
                    "permitted": ["CAP_CHOWN", "CAP_KILL"],
                    "effective": ["CAP_KILL"],
                    "inheritable": ["CAP_CHOWN"],
                    "ambient": [],
                }
            )
        ),
        "new-privileges": _process(noNewPrivileges=False),
        "cwd": _process(cwd="/usr/bin"),
        "cwd-made": _process(cwd="/made/by/runtime"),
        "environment": lambda spec: spec["process"]["env"].extend(["A=1", "EMPTY=", "SPACE=a b", "A=2", "HOME=/there"]),
        "no-home": _user(uid=12345, gid=1),
        "oom-score": _process(oomScoreAdj=500),
        "rlimits": _rlimit("RLIMIT_NOFILE", 100, 200),
        "rlimit-core": _rlimit("RLIMIT_CORE", 0, 0),
        "rlimit-several": _process(
            rlimits=[
                {"type": "RLIMIT_FSIZE", "soft": 1 << 30, "hard": 1 << 31},
                {"type": "RLIMIT_STACK", "soft": 1 << 23, "hard": 1 << 24},
                {"type": "RLIMIT_NPROC", "soft": 200, "hard": 300},
            ]
        ),
        "writable-root": lambda spec: spec["root"].update(readonly=False),
        "hostname": lambda spec: spec.update(hostname="a-rather-long.host.name"),
        "shared-network": _shared("network"),
        "shared-ipc": _shared("ipc"),
        "shared-uts": _shared("uts"),
        "shared-pid": _shared("pid"),
        "shared-cgroup": _shared("cgroup"),
        "shared-most": _shared("network", "ipc", "uts", "cgroup"),
        "joined-network": _joined("network"),
        "joined-ipc": _joined("ipc"),
        "joined-uts": _joined("uts"),
        "user-namespace": _mapped,
        "user-namespace-user": _both(_mapped, _user(uid=5, gid=6, additionalGids=[7])),
        "no-masks": _linux(maskedPaths=[], readonlyPaths=[]),
        "own-masks": _linux(maskedPaths=["/masked", "/masked/file", "/proc/keys", "/no/such"], readonlyPaths=["/tmp"]),
        "read-only-paths": _linux(readonlyPaths=["/read-only", "/proc/sys", "/no/such"]),
        "bind": _mount("/tree", "bind", tree, "bind"),
        "bind-read-only": _mount("/tree", "bind", tree, "bind", "ro"),
        "rbind-read-only": _mount("/tree", "bind", tree, "rbind", "ro"),
        "rbind-private": _mount("/tree", "none", tree, "rbind", "rprivate", "nosuid", "nodev", "noexec"),
        "rbind-shared": _mount("/tree", "bind", tree, "rbind", "rshared"),
        "rbind-slave": _mount("/tree", "bind", tree, "rbind", "rslave"),
        "bind-unbindable": _mount("/tree", "bind", tree, "bind", "unbindable"),
        "bind-file": _mount("/volume", "bind", file, "bind", "ro"),
        "bind-noatime": _mount("/tree", "bind", tree, "bind", "noatime", "nodiratime"),
        "recursive-read-only": _mount("/tree", "bind", tree, "rbind", "rro"),
        "tmpfs": _mount("/tmp", "tmpfs", "tmpfs", "nosuid", "size=1m", "mode=1770"),
        "tmpfs-strictatime": _mount("/tmp", "tmpfs", "tmpfs", "strictatime", "noexec", "nodev"),
        "tmpfs-copy-up": _mount("/copied", "tmpfs", "tmpfs", "tmpcopyup", "mode=755"),
        "tmpfs-copy-up-read-only": _mount("/copied", "tmpfs", "tmpfs", "tmpcopyup", "ro"),
        "tmpfs-plain": _mount("/copied", "tmpfs", "tmpfs"),
        "tmpfs-new": _both(_mount("/volume2", "tmpfs", "tmpfs"), lambda spec: spec["root"].update(readonly=False)),
        "tmpfs-read-only": _mount("/tmp", "tmpfs", "tmpfs", "ro"),
        "proc-plain": _options("/proc"),
        "proc-hidden": _options("/proc", "nosuid", "noexec", "nodev", "hidepid=2"),
        "sys-writable": _options("/sys", "nosuid", "noexec", "nodev"),
        "dev-read-only": _options("/dev", "nosuid", "strictatime", "mode=755", "size=65536k", "ro"),
        "dev-plain": _options("/dev"),
        "no-mqueue": _without("/dev/mqueue"),
        "no-shm": _without("/dev/shm"),
        "cgroup-writable": _options("/sys/fs/cgroup", "rw", "nosuid"),
        "device": _device("/dev/extra", "c", 1, 3, fileMode=0o640, uid=3, gid=4),
        "device-default-mode": _device("/dev/net/tun", "c", 10, 200),
        "device-block": _device("/dev/blk", "b", 7, 99, fileMode=0o600),
        "device-fifo": _device("/dev/pipe", "p", 0, 0, fileMode=0o622),
        "device-rules": _both(
            _caps(["CAP_MKNOD"]), _cgroup_rules({"allow": True, "type": "c", "major": 5, "minor": 99, "access": "rw"})
        ),
        "device-rules-none": _both(_caps(["CAP_MKNOD"]), _linux(resources={})),
        "sysctl": _linux(
            sysctl={"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096", "net.ipv4.ping_group_range": "0 5"}
        ),
        "seccomp-errno": _filter(["mkdir", "mkdirat"], "SCMP_ACT_ERRNO"),
        "seccomp-errno-number": _filter(["unshare"], "SCMP_ACT_ERRNO", errnoRet=2),
        "seccomp-argument": _filter(["mount"], "SCMP_ACT_ERRNO", args=[{"index": 3, "value": 0, "op": "SCMP_CMP_EQ"}]),
        "seccomp-new-privileges": _both(_process(noNewPrivileges=False), _filter(["mkdir"], "SCMP_ACT_ERRNO")),
        "propagation-private": _linux(rootfsPropagation="private"),
        "propagation-shared": _linux(rootfsPropagation="shared"),
        "propagation-slave": _linux(rootfsPropagation="slave"),
        "propagation-unbindable": _linux(rootfsPropagation="unbindable"),
        "personality": _linux(personality={"domain": "LINUX32"}),
        "terminal": _process(terminal=True),
        "terminal-user": _both(_process(terminal=True), _user(uid=7, gid=8)),
        "terminal-size": _process(terminal=True, consoleSize={"height": 11, "width": 22}),
    }
