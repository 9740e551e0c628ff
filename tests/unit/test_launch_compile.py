"""A spec to records: data in, data out."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pycontain.kernel import capability
from pycontain.launch import ops, ops_mounts
from pycontain.launch.compile import PIPES, Surroundings, compile_exec, compile_spec
from pycontain.launch.ops import (
    GUEST,
    HOST,
)
from pycontain.launch.ops_userns import MapRoot, TakeRoot
from pycontain.launch.plan import encode

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_REC = 1 << 18, 1 << 19, 1 << 20, 1 << 14

DEVICES: list[ops.Op] = [
    ops_mounts.Device("/dev/null", 0o20666, os.makedev(1, 3)),
    ops_mounts.Device("/dev/zero", 0o20666, os.makedev(1, 5)),
    ops_mounts.Device("/dev/full", 0o20666, os.makedev(1, 7)),
    ops_mounts.Device("/dev/random", 0o20666, os.makedev(1, 8)),
    ops_mounts.Device("/dev/urandom", 0o20666, os.makedev(1, 9)),
    ops_mounts.Device("/dev/tty", 0o20666, os.makedev(5, 0)),
]
LINKS: list[ops.Op] = [
    ops_mounts.Symlink("/proc/self/fd", "/dev/fd"),
    ops_mounts.Symlink("/proc/self/fd/0", "/dev/stdin"),
    ops_mounts.Symlink("/proc/self/fd/1", "/dev/stdout"),
    ops_mounts.Symlink("/proc/self/fd/2", "/dev/stderr"),
    ops_mounts.Symlink("pts/ptmx", "/dev/ptmx"),
]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def spec(**changes: Any) -> dict[str, Any]:
    """The smallest spec; a dotted key (with __ for the dot) sets a property in it."""
    result: dict[str, Any] = {
        "ociVersion": "1.2.0",
        "process": {"args": ["sh"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    }
    for key, value in changes.items():
        *parents, last = key.split("__")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return result


def records(value: dict[str, Any], around: Surroundings | None = None) -> list[tuple[int, ops.Op]]:
    return compile_spec(value, around or Surroundings("/bundle"))[0]


def ops_of(value: dict[str, Any], *kinds: type[ops.Op], around: Surroundings | None = None) -> list[ops.Op]:
    return [op for _, op in records(value, around) if isinstance(op, kinds)]


def test_the_smallest_container() -> None:
    assert records(spec()) == [
        (HOST, ops.Clone(CLONE_NEWNS | CLONE_NEWPID)),
        (GUEST, ops.Setsid()),
        (GUEST, ops.Keyring("pycontain")),
        (GUEST, ops_mounts.Propagation(MS_SLAVE | MS_REC)),
        (GUEST, ops_mounts.RootBind("/bundle/rootfs")),
        *[(GUEST, op) for op in DEVICES],
        *[(GUEST, op) for op in LINKS],
        (GUEST, ops.Stdio(-1, -1, -1, 0)),
        (GUEST, ops_mounts.Mkdir("/")),
        (GUEST, ops_mounts.Pivot()),
        (GUEST, ops.Umask(0o22)),
        (GUEST, ops.Cwd("/")),
        (GUEST, ops.Bounding(0)),
        (GUEST, ops.User(0, 0, b"")),
        (GUEST, ops.Capabilities(0, 0, 0, 0)),
        (GUEST, ops.Lookup("sh", PATH)),
        (GUEST, ops.Exec(["sh"], [])),
    ]


def test_a_container_with_everything() -> None:
    value = spec(
        hostname="web",
        domainname="example",
        mounts=[
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind", "rro", "rprivate"]},
        ],
        root__readonly=True,
        process__user={"uid": 5, "gid": 6, "umask": 0o77, "additionalGids": [7, 8]},
        process__env=["PATH=/bin", "A=b"],
        process__cwd="/srv",
        process__capabilities={
            "bounding": ["CAP_CHOWN", "CAP_KILL"],
            "permitted": ["CAP_CHOWN"],
            "effective": ["CAP_CHOWN"],
            "inheritable": ["CAP_KILL"],
            "ambient": [],
        },
        process__noNewPrivileges=True,
        process__oomScoreAdj=77,
        process__rlimits=[{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
        linux__namespaces=[{"type": kind} for kind in ("mount", "pid", "uts", "ipc", "network", "cgroup", "time")],
        linux__timeOffsets={"monotonic": {"secs": 5, "nanosecs": 6}},
        linux__sysctl={"net.core.somaxconn": "5"},
        linux__devices=[{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600, "uid": 5}],
        linux__maskedPaths=["/proc/kcore"],
        linux__readonlyPaths=["/proc/sys"],
        linux__personality={"domain": "LINUX32"},
        linux__rootfsPropagation="private",
    )
    around = Surroundings("/bundle")
    around.before = [ops.DeviceFilter(9, b"x")]
    around.after_clone = [ops.WritePid("/run/pid")]
    around.in_namespaces = [(HOST, ops.NetnsFd(5)), (GUEST, ops.Netlink(0, b"m", "connect"))]
    around.root = ops_mounts.RootOverlay("/s", "root", "l", "u", "w")
    around.stdio = PIPES
    around.cgroup = 9
    around.die = True
    around.init = True
    around.keyring_name = "k"
    around.seccomp = ops.Seccomp(0, bytes(8))
    flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET
    chown, kill = capability.mask(["CAP_CHOWN"]), capability.mask(["CAP_KILL"])
    assert records(value, around) == [
        (HOST, ops.DeviceFilter(9, b"x")),
        (HOST, ops.Clone(flags, 9, die=True)),
        (HOST, ops.WritePid("/run/pid")),
        (HOST, ops.OomScoreAdj(77)),
        (GUEST, ops.Setsid()),
        (GUEST, ops.Keyring("k")),
        (GUEST, ops.Unshare(CLONE_NEWCGROUP)),
        (GUEST, ops.TimeOffsets("monotonic 5 6\n")),
        (GUEST, ops.LoopbackUp()),
        (HOST, ops.NetnsFd(5)),
        (GUEST, ops.Netlink(0, b"m", "connect")),
        (GUEST, ops.Hostname("web")),
        (GUEST, ops.Domainname("example")),
        (GUEST, ops_mounts.Propagation(MS_PRIVATE | MS_REC)),
        (GUEST, ops_mounts.RootOverlay("/s", "root", "l", "u", "w")),
        (GUEST, ops_mounts.Mount("proc", "proc", "/proc", 0xE, flags=ops_mounts.MOUNT_NO_SYMLINKS)),
        (GUEST, ops_mounts.Bind("/srv", "/data", ops_mounts.BIND_RECURSIVE, all_set=1, propagation=MS_PRIVATE)),
        *[(GUEST, op) for op in DEVICES],
        (GUEST, ops_mounts.Device("/dev/fuse", 0o20600, os.makedev(10, 229), 5, 0)),
        *[(GUEST, op) for op in LINKS],
        (GUEST, ops.Stdio(-2, -2, -2, 5)),
        (GUEST, ops_mounts.Mkdir("/srv")),
        (GUEST, ops.Sysctl("net/core/somaxconn", "5")),
        (GUEST, ops_mounts.ReadOnly("/proc/sys")),
        (GUEST, ops_mounts.Mask("/proc/kcore")),
        (GUEST, ops_mounts.Pivot()),
        (GUEST, ops_mounts.RootAttributes(1, MS_PRIVATE)),
        (GUEST, ops.Personality(8)),
        (GUEST, ops.Rlimit(7, 10, 20)),
        (GUEST, ops.Umask(0o77)),
        (GUEST, ops.Cwd("/srv")),
        (GUEST, ops.Bounding(chown | kill)),
        (GUEST, ops.User(5, 6, b"\7\0\0\0\10\0\0\0")),
        (GUEST, ops.Capabilities(chown, chown, kill, 0)),
        (GUEST, ops.NoNewPrivileges()),
        (GUEST, ops.Lookup("sh", "/bin")),
        (GUEST, ops.Seccomp(0, bytes(8))),
        (GUEST, ops.Init()),
        (GUEST, ops.Exec(["sh"], ["PATH=/bin", "A=b"])),
    ]


def test_null_is_as_good_as_absent() -> None:
    """Encoders in Go write null for an empty slice."""
    value = spec(
        hostname=None,
        mounts=None,
        process__env=None,
        process__user=None,
        process__capabilities=None,
        process__rlimits=None,
        process__oomScoreAdj=None,
        linux__devices=None,
        linux__sysctl=None,
        linux__maskedPaths=None,
        linux__resources=None,
        linux__uidMappings=None,
        linux__personality=None,
    )
    assert records(value) == records(spec())


# --- order: what the kernel's rules, or safety, ask for ----------------------------------------------------------


def position(value: dict[str, Any], kind: type[ops.Op], around: Surroundings | None = None) -> int:
    return next(index for index, (_, op) in enumerate(records(value, around)) if isinstance(op, kind))


def test_masks_and_sysctls_come_after_all_mounts() -> None:
    """A volume could cover what was masked, and a mask could be what is mounted on."""
    value = spec(
        mounts=[{"destination": "/proc/x", "type": "tmpfs"}],
        linux__maskedPaths=["/proc/kcore"],
        linux__readonlyPaths=["/proc/sys"],
        linux__namespaces=[{"type": "mount"}, {"type": "network"}],
        linux__sysctl={"net.core.somaxconn": "1"},
    )
    at = [
        position(value, kind)
        for kind in (
            ops_mounts.Mount,
            ops_mounts.Device,
            ops.Sysctl,
            ops_mounts.ReadOnly,
            ops_mounts.Mask,
            ops_mounts.Pivot,
        )
    ]
    assert at == sorted(at)


def test_limits_come_after_everything_that_writes_or_opens() -> None:
    value = spec(process__rlimits=[{"type": "RLIMIT_FSIZE", "soft": 0, "hard": 0}])
    assert position(value, ops.Rlimit) > position(value, ops_mounts.Pivot)


def test_the_bounding_set_goes_before_the_ids_and_those_before_the_capabilities() -> None:
    value = spec(process__capabilities={"bounding": []}, process__user={"uid": 1, "gid": 1})
    at = [position(value, kind) for kind in (ops.Bounding, ops.User, ops.Capabilities, ops.Lookup, ops.Exec)]
    assert at == sorted(at)


def test_the_filter_comes_while_the_process_may_still_load_it_or_after_no_new_privileges() -> None:
    around = Surroundings()
    around.seccomp = ops.Seccomp(0, bytes(8))
    early = spec(process__capabilities={"bounding": []})
    assert position(early, ops.Seccomp, around) < position(early, ops.Bounding, around)
    late = spec(process__capabilities={"bounding": []}, process__noNewPrivileges=True)
    at = [position(late, kind, around) for kind in (ops.Capabilities, ops.NoNewPrivileges, ops.Lookup, ops.Seccomp)]
    assert at == sorted(at)


@pytest.mark.parametrize("late", [False, True])
def test_the_gate_comes_before_the_filter_and_after_the_program_was_found(late: bool) -> None:
    around = Surroundings()
    around.seccomp = ops.Seccomp(0, bytes(8))
    around.gate = ops.Gate(5)
    value = spec(process__noNewPrivileges=late)
    at = [position(value, kind, around) for kind in (ops.Lookup, ops.Gate, ops.Seccomp, ops.Exec)]
    assert at == sorted(at)


def test_a_cgroup_namespace_is_made_when_the_guest_is_in_its_cgroup() -> None:
    """Its root is the cgroup of who makes it: clone(2) would make it before the process is in the new one."""
    value = spec(linux__namespaces=[{"type": "mount"}, {"type": "cgroup"}])
    assert not ops_of(value, ops.Clone)[0].values[0] & CLONE_NEWCGROUP
    assert ops_of(value, ops.Unshare) == [ops.Unshare(CLONE_NEWCGROUP)]


def test_the_record_of_exec_is_the_last_one() -> None:
    assert isinstance(records(spec())[-1][1], ops.Exec)


# --- user namespaces ----------------------------------------------------------------------------------------------

MAPPED: dict[str, Any] = {
    "linux__namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "user"}],
    "linux__uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 10, "hostID": 5, "size": 1}],
    "linux__gidMappings": [{"containerID": 0, "hostID": 2000, "size": 10}],
}


def test_a_user_namespace_is_mapped_by_the_host_before_the_guest_takes_root() -> None:
    value = spec(**MAPPED)
    assert records(value)[:3] == [
        (HOST, ops.Clone(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER, owner=(1000, 2000))),
        (HOST, ops.IdMap("0 1000 10\n10 5 1\n", "0 2000 10\n")),
        (GUEST, ops.BecomeRoot()),
    ]


@pytest.mark.parametrize(("inside", "host", "owner"), [(0, 1000, (1000, 1000)), (0, 0, (-1, -1)), (1, 1000, (-1, -1))])
def test_who_makes_the_user_namespace(inside: int, host: int, owner: tuple[int, int]) -> None:
    entries = [{"containerID": inside, "hostID": host, "size": 10}]
    value = spec(**{**MAPPED, "linux__uidMappings": entries, "linux__gidMappings": entries})
    assert ops_of(value, ops.Clone)[0].values[5:7] == owner


def test_all_ids_can_be_mapped() -> None:
    entries = [{"containerID": 0, "hostID": 0, "size": 2**32 - 1}]
    value = spec(**{**MAPPED, "linux__uidMappings": entries, "linux__gidMappings": entries})
    assert ops_of(value, ops.IdMap) == [ops.IdMap("0 0 4294967295\n", "0 0 4294967295\n")]


def test_the_root_of_a_guest_in_another_user_namespace_is_mounted_by_the_host() -> None:
    around = Surroundings("/bundle")
    around.map_root = MapRoot(256, "/store", "c/root", "layers/1", "c/upper", "c/work", "", (1000, 2000))
    around.root = TakeRoot(256)
    found = compile_spec(spec(**MAPPED), around)[0]
    clone, maps, root = found[:3]
    assert clone[1].values[-1] == "/store/c/root"
    assert isinstance(maps[1], ops.IdMap) and root == (HOST, around.map_root)
    assert (GUEST, TakeRoot(256)) in found


def test_in_a_user_namespace_devices_are_the_hosts_own() -> None:
    value = spec(**MAPPED)
    assert ops_of(value, ops_mounts.Device) == []
    assert ops_mounts.Bind("/dev/null", "/dev/null", ops_mounts.BIND_DEVICE) in ops_of(value, ops_mounts.Bind)


def test_limits_of_a_user_namespace_are_set_by_the_host() -> None:
    """Raising one needs CAP_SYS_RESOURCE of the initial user namespace."""
    value = spec(**MAPPED, process__rlimits=[{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}])
    assert (HOST, ops.Rlimit(7, 1, 1)) in records(value)


# --- namespaces that are joined -----------------------------------------------------------------------------------


def test_namespaces_by_path_are_joined_not_made() -> None:
    value = spec(
        linux__namespaces=[
            {"type": "mount"},
            {"type": "network", "path": "/proc/self/ns/net"},
            {"type": "pid", "path": "/proc/self/ns/pid"},
        ]
    )
    clone, *_ = ops_of(value, ops.Clone)
    assert clone.values[0] == CLONE_NEWNS
    joins = [(side, op.values[1], op.values[2]) for side, op in records(value) if isinstance(op, ops.Setns)]
    assert joins == [
        # a PID namespace is for children: who clones has to be in it
        (HOST, CLONE_NEWPID, "the pid namespace /proc/self/ns/pid"),
        (GUEST, CLONE_NEWNET, "the net namespace /proc/self/ns/net"),
    ]
    for op in ops_of(value, ops.Setns):
        assert os.get_inheritable(op.values[0])
        os.close(op.values[0])


def test_a_user_namespace_is_joined_first() -> None:
    value = spec(
        linux__namespaces=[
            {"type": "mount"},
            {"type": "network", "path": "/proc/self/ns/net"},
            {"type": "user", "path": "/proc/self/ns/user"},
        ]
    )
    # by clone itself, so that the new mount namespace is the user namespace's own
    clone, join = ops_of(value, ops.Setns, ops.Clone)
    userns = clone.values[4]
    assert os.readlink(f"/proc/self/fd/{userns}").startswith("user:[") and os.get_inheritable(userns)
    assert join.values[1] == CLONE_NEWNET
    for fd in (userns, join.values[0]):
        os.close(fd)


# --- mounts -------------------------------------------------------------------------------------------------------

RO, NOSUID, NODEV, NOEXEC, ATIME, NOATIME, STRICT = 1, 2, 4, 8, 0x70, 0x10, 0x20
ALL_OF_THEM = NOSUID | NODEV | NOEXEC


@pytest.mark.parametrize(
    ("mount", "op"),
    [
        ({"type": "tmpfs"}, ops_mounts.Mount("tmpfs", "tmpfs", "/m")),
        (
            {"type": "tmpfs", "source": "x", "options": ["ro", "size=5m", "mode=755", "nosuid"]},
            ops_mounts.Mount("tmpfs", "x", "/m", RO | NOSUID, ["size=5m", "mode=755"]),
        ),
        (
            {"type": "tmpfs", "options": ["tmpcopyup"]},
            ops_mounts.Mount("tmpfs", "tmpfs", "/m", flags=ops_mounts.MOUNT_COPY_UP),
        ),
        ({"type": "sysfs"}, ops_mounts.Mount("sysfs", "sysfs", "/m", flags=ops_mounts.MOUNT_NO_SYMLINKS)),
        ({"type": "proc"}, ops_mounts.Mount("proc", "proc", "/m", flags=ops_mounts.MOUNT_NO_SYMLINKS)),
        (
            {"type": "tmpfs", "destination": "/dev/"},
            ops_mounts.Mount("tmpfs", "tmpfs", "/dev/", flags=ops_mounts.MOUNT_NO_SYMLINKS),
        ),
        ({"type": "tmpfs", "destination": "rel"}, ops_mounts.Mount("tmpfs", "tmpfs", "/rel")),
        ({"type": "cgroup", "source": "cgroup"}, ops_mounts.Mount("cgroup2", "cgroup", "/m")),
        ({"type": "tmpfs", "options": ["shared"]}, ops_mounts.Mount("tmpfs", "tmpfs", "/m", propagation=MS_SHARED)),
        ({"type": "bind", "source": "/s"}, ops_mounts.Bind("/s", "/m")),
        ({"source": "/s", "options": ["bind"]}, ops_mounts.Bind("/s", "/m")),
        ({"source": "rel", "options": ["bind"]}, ops_mounts.Bind("/bundle/rel", "/m")),
        (
            {"source": "/s", "options": ["rbind", "ro", "nosuid"]},
            ops_mounts.Bind("/s", "/m", ops_mounts.BIND_RECURSIVE, set=RO | NOSUID),
        ),
        (
            {"source": "/s", "options": ["rbind", "rro", "rnoexec"]},
            ops_mounts.Bind("/s", "/m", ops_mounts.BIND_RECURSIVE, all_set=RO | NOEXEC),
        ),
        ({"source": "/s", "options": ["bind", "ro", "rw"]}, ops_mounts.Bind("/s", "/m", clear=RO)),
        ({"source": "/s", "options": ["bind", "rw", "ro"]}, ops_mounts.Bind("/s", "/m", set=RO)),
        (
            {"source": "/s", "options": ["rbind", "rrw"]},
            ops_mounts.Bind("/s", "/m", ops_mounts.BIND_RECURSIVE, all_clear=RO),
        ),
        ({"source": "/s", "options": ["bind", "noatime"]}, ops_mounts.Bind("/s", "/m", set=NOATIME, clear=ATIME)),
        ({"source": "/s", "options": ["bind", "strictatime"]}, ops_mounts.Bind("/s", "/m", set=STRICT, clear=ATIME)),
        ({"source": "/s", "options": ["bind", "noatime", "relatime"]}, ops_mounts.Bind("/s", "/m", clear=ATIME)),
        ({"source": "/s", "options": ["bind", "rslave"]}, ops_mounts.Bind("/s", "/m", propagation=MS_SLAVE)),
        ({"source": "/s", "options": ["bind", "defaults", "async"]}, ops_mounts.Bind("/s", "/m")),
        ({"source": "/s", "options": ["bind", "suid", "dev", "exec"]}, ops_mounts.Bind("/s", "/m", clear=ALL_OF_THEM)),
    ],
    ids=str,
)  # fmt: skip
def test_a_mount(mount: dict[str, Any], op: ops.Op) -> None:
    found = ops_of(spec(mounts=[{"destination": "/m", **mount}]), ops_mounts.Mount, ops_mounts.Bind)
    assert found == [op]


def test_mounts_keep_their_order() -> None:
    value = spec(mounts=[{"destination": path, "type": "tmpfs"} for path in ("/b/c", "/b", "/a")])
    assert [op.values[2] for op in ops_of(value, ops_mounts.Mount)] == ["/b/c", "/b", "/a"]


def test_a_dev_that_the_caller_binds_is_left_alone() -> None:
    value = spec(
        mounts=[{"destination": "/dev", "source": "/dev", "options": ["rbind"]}],
        linux__devices=[{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}],
    )
    assert ops_of(value, ops_mounts.Device, ops_mounts.Symlink) == []


# --- devices ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "op"),
    [
        (
            {"type": "c", "major": 10, "minor": 229},
            ops_mounts.Device("/d", 0o20666, os.makedev(10, 229)),
        ),
        ({"type": "u", "major": 1, "minor": 3}, ops_mounts.Device("/d", 0o20666, os.makedev(1, 3))),
        (
            {"type": "b", "major": 259, "minor": (1 << 20) - 1, "fileMode": 0o640, "uid": 5, "gid": 6},
            ops_mounts.Device("/d", 0o60640, os.makedev(259, (1 << 20) - 1), 5, 6),
        ),
        ({"type": "p"}, ops_mounts.Device("/d", 0o10666, 0)),
        # the type bits that encoders put into fileMode do not count
        (
            {"type": "c", "major": 1, "minor": 3, "fileMode": 0o60600},
            ops_mounts.Device("/d", 0o20600, os.makedev(1, 3)),
        ),
    ],
)
def test_a_device(device: dict[str, Any], op: ops.Op) -> None:
    assert op in ops_of(spec(linux__devices=[{"path": "/d", **device}]), ops_mounts.Device)


def test_a_device_of_the_spec_takes_the_place_of_the_default_one() -> None:
    value = spec(linux__devices=[{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600}])
    nulls = [op for op in ops_of(value, ops_mounts.Device) if op.values[0] == "/dev/null"]
    assert nulls == [ops_mounts.Device("/dev/null", 0o20600, os.makedev(1, 3))]


# --- the rest -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "first", "final"),
    [
        ("", MS_SLAVE | MS_REC, None),
        ("rslave", MS_SLAVE | MS_REC, None),
        ("private", MS_PRIVATE | MS_REC, MS_PRIVATE),
        ("shared", MS_SLAVE | MS_REC, MS_SHARED),
        ("unbindable", MS_PRIVATE | MS_REC, 1 << 17),
    ],
)
def test_the_root_never_propagates_to_the_host(text: str, first: int, final: int | None) -> None:
    """Nothing of the new namespace is a peer of the host's, but the sources of shared binds where it is wanted."""
    value = spec(linux__rootfsPropagation=text)
    assert ops_of(value, ops_mounts.Propagation) == [ops_mounts.Propagation(first, shared=text == "shared")]
    assert ops_of(value, ops_mounts.RootAttributes) == ([] if final is None else [ops_mounts.RootAttributes(0, final)])


def test_a_terminal_takes_the_place_of_the_standard_descriptors() -> None:
    value = spec(process__terminal=True, process__consoleSize={"height": 24, "width": 80}, process__user={"uid": 9})
    assert ops_of(value, ops.Terminal, ops.Stdio) == [ops.Terminal(24, 80, 9, True)]
    around = Surroundings()
    around.rows, around.columns = 50, 100
    assert ops_of(spec(process__terminal=True), ops.Terminal, around=around) == [ops.Terminal(50, 100, 0, True)]


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        # sysctl(8): the first separator decides, the other one is part of the name
        ("net.ipv4.conf.eth0/1.rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
        ("net/ipv4/conf/eth0.1/rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
        ("kernel.shmmax", "kernel/shmmax"),
        ("fs.mqueue.msg_max", "fs/mqueue/msg_max"),
        ("kernel.domainname", "kernel/domainname"),
    ],
)
def test_a_sysctl_of_a_namespace_of_its_own(key: str, path: str) -> None:
    value = spec(
        linux__namespaces=[{"type": kind} for kind in ("mount", "network", "ipc", "uts")], linux__sysctl={key: "1 2\t3"}
    )
    assert ops_of(value, ops.Sysctl) == [ops.Sysctl(path, "1 2\t3")]


def test_capabilities_that_this_version_does_not_know_are_a_warning() -> None:
    value = spec(process__capabilities={"bounding": ["CAP_CHOWN", "CAP_FROM_THE_FUTURE"]})
    found, warnings = compile_spec(value, Surroundings())
    assert ops.Bounding(1) in [op for _, op in found]
    assert warnings == ["process.capabilities.bounding: 'CAP_FROM_THE_FUTURE' is not known to this version"]


@pytest.mark.parametrize("value", [{}, None])
def test_without_capabilities_there_are_none(value: object) -> None:
    """As in runc: what is not asked for is not given."""
    none = [ops.Bounding(0), ops.Capabilities(0, 0, 0, 0)]
    assert ops_of(spec(), ops.Bounding, ops.Capabilities) == none
    assert ops_of(spec(process__capabilities=value), ops.Bounding, ops.Capabilities) == none


def test_inheritable_and_ambient_sets_are_empty_where_the_spec_has_none() -> None:
    """CVE-2022-29162 and its like."""
    value = spec(process__capabilities={"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]})
    (found,) = ops_of(value, ops.Capabilities)
    assert found == ops.Capabilities(0, 1, 0, 0)


def test_unlimited_is_all_bits() -> None:
    most = (1 << 64) - 1
    value = spec(process__rlimits=[{"type": "RLIMIT_CORE", "soft": most, "hard": most}])
    assert ops_of(value, ops.Rlimit) == [ops.Rlimit(4, most, most)]


def test_names_that_are_no_unicode_go_through_as_bytes() -> None:
    """As os.fsdecode has them."""
    value = spec(process__args=["/\udcff"], hostname="\udcff", linux__namespaces=[{"type": "mount"}, {"type": "uts"}])
    data = encode(records(value))
    assert b"/\xff\0" in data
    assert ops_of(value, ops.Hostname) == [ops.Hostname("\udcff")]


# --- exec ---------------------------------------------------------------------------------------------------------


def test_one_more_process_joins_everything_that_the_container_has() -> None:
    value = spec(
        linux__namespaces=[{"type": kind} for kind in ("mount", "pid", "uts", "network")],
        process__capabilities={"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]},
    )
    around = Surroundings("/bundle")
    around.cgroup = 9
    process = {"args": ["ps"], "cwd": "/x", "user": {"uid": 3, "gid": 4}, "noNewPrivileges": True}
    found, _ = compile_exec(process, value, 5, around)
    assert found == [
        (HOST, ops.Setns(5, CLONE_NEWPID, "the container's PID namespace")),
        (HOST, ops.Clone(0, 9)),
        (GUEST, ops.Setns(5, CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWNET, "the container's namespaces")),
        (GUEST, ops.Setsid()),
        (GUEST, ops.Keyring("pycontain")),
        (GUEST, ops.Stdio(-1, -1, -1, 3)),
        (GUEST, ops.Umask(0o22)),
        (GUEST, ops.Cwd("/x")),
        (GUEST, ops.Bounding(1)),
        (GUEST, ops.User(3, 4, b"")),
        (GUEST, ops.Capabilities(0, 1, 0, 0)),
        (GUEST, ops.NoNewPrivileges()),
        (GUEST, ops.Lookup("ps", PATH)),
        (GUEST, ops.Exec(["ps"], [])),
    ]


def test_one_more_process_in_a_user_namespace_becomes_its_root_first() -> None:
    found, _ = compile_exec({"args": ["ps"], "cwd": "/"}, spec(**MAPPED), 5, Surroundings())
    guest = [op for side, op in found if side == GUEST]
    assert [type(op) for op in guest[:2]] == [ops.Setns, ops.BecomeRoot]


def test_one_more_process_in_the_hosts_pid_namespace_joins_none() -> None:
    found, _ = compile_exec(
        {"args": ["ps"], "cwd": "/"}, spec(linux__namespaces=[{"type": "mount"}]), 5, Surroundings()
    )
    assert [side for side, op in found if isinstance(op, ops.Setns)] == [GUEST]


def test_its_terminal_is_not_bound_on_the_console() -> None:
    process = {"args": ["sh"], "cwd": "/", "terminal": True}
    found, _ = compile_exec(process, spec(), 5, Surroundings())
    assert ops.Terminal(0, 0, 0, False) in [op for _, op in found]


def test_a_read_only_dev_is_made_read_only_last() -> None:
    mounts = [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "nosuid"]}]
    names = [op.name for _, op in records(spec(mounts=mounts))]
    assert names.index("mount") < names.index("device") < names.index("remount") < names.index("pivot")
