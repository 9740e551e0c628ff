"""Everything that a spec can have wrong: one line with the JSON path, before anything is done."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pycontain.kernel.errors import SpecError
from pycontain.launch.compile import Surroundings, compile_spec
from test_launch_compile import spec

NET = [{"type": "mount"}, {"type": "network"}]

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"process": None}, "process", "is required: expected an object"),
    ({"process": []}, "process", "is required: expected an object"),
    ({"process__args": []}, "process.args", "is required: expected the program and its arguments"),
    ({"process__args": [""]}, "process.args", "is required: expected the program and its arguments"),
    ({"process__args": "sh"}, "process.args", "expected an array, found a string"),
    ({"process__args": ["sh", 5]}, "process.args[1]", "expected a string, found a number"),
    ({"process__args": ["sh", "a\0b"]}, "process.args[1]", "NUL character in a string"),
    ({"process__cwd": None}, "process.cwd", "is required: expected a string"),
    ({"process__cwd": "srv"}, "process.cwd", "'srv' is not an absolute path"),
    ({"process__cwd": "/\0"}, "process.cwd", "NUL character in a string"),
    ({"process__cwd": "/\ud800"}, "process.cwd", "half of a surrogate pair in a string"),
    ({"process__args": ["sh", "\udfff"]}, "process.args[1]", "half of a surrogate pair in a string"),
    ({"process__env": ["A=1", "B"]}, "process.env[1]", "'B' is not NAME=VALUE"),
    ({"process__env": ["=x"]}, "process.env[0]", "'=x' is not NAME=VALUE"),
    ({"process__terminal": 1}, "process.terminal", "expected true or false, found a number"),
    ({"process__consoleSize": {"height": 5}}, "process.consoleSize.width", "is required: expected a number"),
    (
        {"process__consoleSize": {"height": 1, "width": 65536}},
        "process.consoleSize.width",
        "65536 is out of range: expected 0 to 65535",
    ),
    ({"process__user": "root"}, "process.user", "expected an object, found a string"),
    ({"process__user": {"uid": -1}}, "process.user.uid", "-1 is out of range: expected 0 to 4294967294"),
    ({"process__user": {"uid": 2**32 - 1}}, "process.user.uid", "4294967295 is out of range: expected 0 to 4294967294"),
    ({"process__user": {"gid": 2**32}}, "process.user.gid", "4294967296 is out of range: expected 0 to 4294967294"),
    ({"process__user": {"gid": True}}, "process.user.gid", "expected a number, found true or false"),
    ({"process__user": {"uid": 1.0}}, "process.user.uid", "expected a number, found a number with a fraction"),
    ({"process__user": {"umask": 0o1000}}, "process.user.umask", "512 is out of range: expected 0 to 511"),
    (
        {"process__user": {"additionalGids": [1, -1]}},
        "process.user.additionalGids[1]",
        "expected a number from 0 to 4294967294",
    ),
    ({"process__capabilities": []}, "process.capabilities", "expected an object, found an array"),
    (
        {"process__capabilities": {"ambient": [1]}},
        "process.capabilities.ambient[0]",
        "expected a string, found a number",
    ),
    ({"process__rlimits": [5]}, "process.rlimits[0]", "expected an object, found a number"),
    ({"process__rlimits": [{"soft": 1, "hard": 1}]}, "process.rlimits[0].type", "is required: expected a string"),
    (
        {"process__rlimits": [{"type": "RLIMIT_X", "soft": 1, "hard": 1}]},
        "process.rlimits[0].type",
        "'RLIMIT_X' is unknown: expected one of RLIMIT_CPU, ",
    ),
    (
        {"process__rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2},
        "process.rlimits[1].type",
        "a second RLIMIT_CPU",
    ),
    (
        {"process__rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]},
        "process.rlimits[0].soft",
        "2 is more than the hard limit 1",
    ),
    (
        {"process__rlimits": [{"type": "RLIMIT_CPU", "soft": 1 << 64, "hard": 1 << 64}]},
        "process.rlimits[0].soft",
        "18446744073709551616 is out of range: expected 0 to 18446744073709551615",
    ),
    ({"process__noNewPrivileges": "yes"}, "process.noNewPrivileges", "expected true or false, found a string"),
    ({"process__oomScoreAdj": 1001}, "process.oomScoreAdj", "1001 is out of range: expected -1000 to 1000"),
    ({"process__apparmorProfile": "x"}, "process.apparmorProfile", "AppArmor is not enabled on this host"),
    ({"process__selinuxLabel": "x"}, "process.selinuxLabel", "SELinux is not enabled on this host"),
    ({"root": None}, "root", "is required: expected an object"),
    ({"root": {}}, "root.path", "is required: expected a string"),
    ({"root__path": ""}, "root.path", "is empty"),
    ({"root__readonly": 0}, "root.readonly", "expected true or false, found a number"),
    ({"hostname": "h"}, "hostname", "needs a uts namespace of the container's own"),
    ({"domainname": "h"}, "domainname", "needs a uts namespace of the container's own"),
    (
        {"hostname": "h" * 65, "linux__namespaces": [{"type": "mount"}, {"type": "uts"}]},
        "hostname",
        "is longer than the kernel's 64 bytes",
    ),
    (
        {"domainname": "ä" * 33, "linux__namespaces": [{"type": "mount"}, {"type": "uts"}]},
        "domainname",
        "is longer than the kernel's 64 bytes",
    ),
    ({"hostname": 5}, "hostname", "expected a string, found a number"),
    ({"linux": "x"}, "linux", "expected an object, found a string"),
    ({"linux": {}}, "linux.namespaces", "a mount namespace of the container's own is needed"),
    ({"linux__namespaces": {}}, "linux.namespaces", "expected an array, found an object"),
    ({"linux__namespaces": ["mount"]}, "linux.namespaces[0]", "expected an object, found a string"),
    ({"linux__namespaces": [{}]}, "linux.namespaces[0].type", "is required: expected a string"),
    (
        {"linux__namespaces": [{"type": "mnt"}]},
        "linux.namespaces[0].type",
        "'mnt' is unknown: expected one of pid, network, mount, ipc, uts, user, cgroup, time",
    ),
    ({"linux__namespaces": [{"type": "mount"}] * 2}, "linux.namespaces[1].type", "a second mount namespace"),
    (
        {"linux__namespaces": [{"type": "mount"}, {"type": "pid", "path": "proc"}]},
        "linux.namespaces[1].path",
        "'proc' is not an absolute path",
    ),
    (
        {"linux__namespaces": [{"type": "mount"}, {"type": "pid", "path": "/nowhere"}]},
        "linux.namespaces",
        "cannot open /nowhere: No such file or directory",
    ),
    (
        {"linux__namespaces": [{"type": "mount"}, {"type": "pid", "path": "/proc/self/ns/net"}]},
        "linux.namespaces",
        "/proc/self/ns/net is not a pid namespace",
    ),
    (
        {"linux__namespaces": [{"type": "mount"}, {"type": "pid", "path": "/dev/null"}]},
        "linux.namespaces",
        "/dev/null is not a pid namespace",
    ),
    (
        {"linux__namespaces": [{"type": "mount"}, {"type": "user"}]},
        "linux.uidMappings",
        "a new user namespace needs uidMappings and gidMappings",
    ),
    (
        {"linux__gidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]},
        "linux.uidMappings",
        "without a new user namespace there is nothing to map",
    ),
    (
        {"linux__uidMappings": [{"containerID": 0, "hostID": 0, "size": 0}]},
        "linux.uidMappings[0].size",
        "is 0: expected at least 1",
    ),
    (
        {"linux__uidMappings": [{"containerID": 0, "hostID": 2**32 - 1, "size": 1}]},
        "linux.uidMappings[0].hostID",
        "4294967295 is out of range: expected 0 to 4294967294",
    ),
    (
        {"linux__timeOffsets": {"monotonic": {"secs": 1}}},
        "linux.timeOffsets",
        "without a new time namespace there is nothing to offset",
    ),
    (
        {"linux__timeOffsets": {"realtime": {"secs": 1}}},
        "linux.timeOffsets.realtime",
        "is not a clock that a time namespace offsets: expected monotonic or boottime",
    ),
    (
        {"linux__timeOffsets": {"boottime": {"nanosecs": 10**9}}},
        "linux.timeOffsets.boottime.nanosecs",
        "1000000000 is out of range: expected 0 to 999999999",
    ),
    ({"mounts": {}}, "mounts", "expected an array, found an object"),
    ({"mounts": [{}]}, "mounts[0].destination", "is required: expected a string"),
    ({"mounts": [{"destination": ""}]}, "mounts[0].destination", "is empty"),
    (
        {"mounts": [{"destination": "/m"}]},
        "mounts[0].type",
        "is required where the options have neither bind nor rbind",
    ),
    ({"mounts": [{"destination": "/m", "type": "bind"}]}, "mounts[0].source", "is required for a bind mount"),
    (
        {"mounts": [{"destination": "/m", "type": "bind", "source": "/s", "options": ["tmpcopyup"]}]},
        "mounts[0].options",
        "tmpcopyup is for tmpfs, not for a bind mount",
    ),
    (
        {"mounts": [{"destination": "/m", "type": "proc", "options": ["tmpcopyup"]}]},
        "mounts[0].options",
        "tmpcopyup is for tmpfs, not for proc",
    ),
    (
        {"mounts": [{"destination": "/m", "type": "bind", "source": "/s", "options": ["ro", "idmap"]}]},
        "mounts[0].options",
        "idmap needs uidMappings and gidMappings, or a user namespace of the container's own",
    ),
    (
        {"mounts": [{"destination": "/m", "type": "bind", "source": "/s", "uidMappings": [{}]}]},
        "mounts[0].uidMappings[0].containerID",
        "is required: expected a number",
    ),
    (
        {"mounts": [{"destination": "/m", "type": "tmpfs", "options": [1]}]},
        "mounts[0].options[0]",
        "expected a string, found a number",
    ),
    (
        {"linux__rootfsPropagation": "x"},
        "linux.rootfsPropagation",
        "'x' is unknown: expected one of private, rprivate, slave, rslave, shared, rshared, unbindable, runbindable",
    ),
    ({"linux__devices": [{"type": "c"}]}, "linux.devices[0].path", "is required: expected a string"),
    ({"linux__devices": [{"path": "d", "type": "c"}]}, "linux.devices[0].path", "'d' is not an absolute path"),
    (
        {"linux__devices": [{"path": "/d", "type": "x"}]},
        "linux.devices[0].type",
        "'x' is unknown: expected one of c, u, b, p",
    ),
    ({"linux__devices": [{"path": "/d", "type": "c"}]}, "linux.devices[0].major", "is required: expected a number"),
    (
        {"linux__devices": [{"path": "/d", "type": "b", "major": 4096, "minor": 0}]},
        "linux.devices[0].major",
        "4096 is out of range: expected 0 to 4095",
    ),
    (
        {"linux__devices": [{"path": "/d", "type": "b", "major": 1, "minor": 1 << 20}]},
        "linux.devices[0].minor",
        "1048576 is out of range: expected 0 to 1048575",
    ),
    ({"linux__maskedPaths": ["proc"]}, "linux.maskedPaths[0]", "'proc' is not an absolute path"),
    ({"linux__readonlyPaths": ["/a", "b"]}, "linux.readonlyPaths[1]", "'b' is not an absolute path"),
    ({"linux__sysctl": []}, "linux.sysctl", "expected an object"),
    ({"linux__sysctl": {"a.b": 1}}, "linux.sysctl.a.b", "expected a string"),
    (
        {"linux__sysctl": {"kernel.core_pattern": "|x"}},
        "linux.sysctl.kernel.core_pattern",
        "is not namespaced: it would change the host",
    ),
    (
        {"linux__sysctl": {"kernel.hostname": "x"}},
        "linux.sysctl.kernel.hostname",
        "is set by hostname",
    ),
    (
        {"linux__sysctl": {"net.core.somaxconn": "1"}},
        "linux.sysctl.net.core.somaxconn",
        "the container has no net namespace of its own",
    ),
    (
        {"linux__sysctl": {"kernel.shmmax": "1"}},
        "linux.sysctl.kernel.shmmax",
        "the container has no ipc namespace of its own",
    ),
    (
        {"linux__namespaces": NET, "linux__sysctl": {"net/../kernel/core_pattern": "1"}},
        "linux.sysctl.net/../kernel/core_pattern",
        "'net/../kernel/core_pattern' is not the name of a sysctl",
    ),
    # CVE-2022-0811: sysctl settings smuggled in by the value or the name of another
    (
        {"linux__namespaces": NET, "linux__sysctl": {"net.x+kernel.y": "1"}},
        "linux.sysctl.net.x+kernel.y",
        "'net.x+kernel.y' is not the name of a sysctl",
    ),
    (
        {"linux__namespaces": NET, "linux__sysctl": {"net.x": "1\n2"}},
        "linux.sysctl.net.x",
        "control or non-ASCII character in the value",
    ),
    (
        {"linux__personality": {"domain": "BSD"}},
        "linux.personality.domain",
        "'BSD' is unknown: expected one of LINUX, LINUX32",
    ),
    (
        {"linux__personality": {"domain": "LINUX", "flags": ["x"]}},
        "linux.personality.flags",
        "no flags are defined",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "where", "problem"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_cannot_be_is_said_with_its_json_path(changes: dict[str, Any], where: str, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        compile_spec(spec(**changes), Surroundings("/bundle"))
    assert caught.value.where == where
    assert caught.value.problem == problem or (problem.endswith(" ") and caught.value.problem.startswith(problem))


def test_a_refused_spec_leaves_no_descriptor_open() -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = opened()
    value = spec(linux__namespaces=[{"type": "mount"}, {"type": "pid", "path": "/proc/self/ns/net"}])
    for _ in range(3):
        with pytest.raises(SpecError):
            compile_spec(value, Surroundings())
    assert opened() == before
