"""Broken config.json documents: one line with the JSON path each, whatever is wrong, and never anything else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from full_spec import FREE, full, get, json_path, paths, put
from pycontain.kernel.errors import Error, SpecError
from pycontain.launch.plan import encode
from pycontain.oci import create


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of the test's own, and no descriptor of a namespace left open."""
    monkeypatch.setattr(create, "CACHE", str(tmp_path_factory.mktemp("cache")))
    before = set(os.listdir("/proc/self/fd"))
    yield
    for name in set(os.listdir("/proc/self/fd")) - before:
        try:
            os.close(int(name))
        except OSError:
            continue


def compiled(spec: Any) -> bytes:
    return encode(create.plan_of(spec, "/bundle"))


def test_the_full_spec_is_valid() -> None:
    assert len(compiled(full())) > 1000


def _of_another_type(value: object) -> object:
    """A value that no property of the specification with this one takes."""
    return 1.5 if not isinstance(value, (dict, list)) else "text"


TYPES = [at for at in paths(full()) if not (len(at) > 2 and json_path(at[:-1]) == "linux.netDevices")]


@pytest.mark.parametrize("at", TYPES, ids=json_path)
def test_every_property_has_a_type(at: tuple[str | int, ...]) -> None:
    spec = full()
    put(spec, at, _of_another_type(get(spec, at)))
    with pytest.raises(SpecError) as caught:
        compiled(spec)
    said = caught.value.message
    # a file of the cgroup's has a dot in its name
    wanted = json_path(at).replace("unified.memory.high", 'unified["memory.high"]')
    assert said.startswith(wanted) and "\n" not in said, said


#: (path, value, what the error begins with or "" for the path itself, words in it)
CORPUS: list[tuple[str, Any, str, str]] = [
    ("ociVersion", "", "", "is not a version 1.x.y"),
    ("ociVersion", "2.0.0", "", "is not a version 1.x.y"),
    ("ociVersion", "1.0", "", "is not a version 1.x.y"),
    ("ociVersion", "1.x.0", "", "is not a version 1.x.y"),
    ("ociVersion", None, "", "is required"),
    ("process", None, "", "is required"),
    ("process.args", [], "", "is required"),
    ("process.args", None, "", "is required"),
    ("process.args[0]", "", "process.args", "is required"),
    ("process.args[1]", "a\0b", "", "NUL"),
    ("process.args[1]", "\ud800", "", "surrogate"),
    ("process.cwd", "", "", "not an absolute path"),
    ("process.cwd", "relative", "", "not an absolute path"),
    ("process.env[0]", "", "", "NAME=VALUE"),
    ("process.env[0]", "=x", "", "NAME=VALUE"),
    ("process.env[0]", "PATH=\0", "", "NUL"),
    ("process.user.uid", -1, "", "out of range"),
    ("process.user.uid", 1 << 32, "", "out of range"),
    ("process.user.gid", 4294967295, "", "out of range"),
    ("process.user.gid", True, "", "expected a number"),
    ("process.user.umask", 512, "", "out of range"),
    ("process.user.additionalGids[1]", -1, "", "expected a number"),
    ("process.user.additionalGids", list(range(2000)), "", "more than"),
    ("process.consoleSize.height", 65536, "", "out of range"),
    ("process.consoleSize.width", -1, "", "out of range"),
    ("process.consoleSize.width", None, "", "is required"),
    ("process.rlimits[0].type", "RLIMIT_MOON", "", "is unknown"),
    ("process.rlimits[0].type", None, "", "is required"),
    ("process.rlimits[0].soft", 201, "", "more than the hard limit"),
    ("process.rlimits[0].hard", 1 << 64, "", "out of range"),
    ("process.rlimits[0].hard", None, "", "is required"),
    ("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2, "process.rlimits[1].type", "a second"),
    ("process.oomScoreAdj", 1001, "", "out of range"),
    ("process.oomScoreAdj", -1001, "", "out of range"),
    ("process.scheduler.policy", "SCHED_ISO", "", "no kernel"),
    ("process.scheduler.policy", "SCHED_MOON", "", "is unknown"),
    ("process.scheduler.policy", None, "", "is required"),
    ("process.scheduler.nice", 20, "", "out of range"),
    ("process.scheduler.nice", -21, "", "out of range"),
    ("process.scheduler.priority", 100, "", "out of range"),
    ("process.scheduler.priority", 5, "", "SCHED_FIFO and SCHED_RR alone"),
    ("process.scheduler.policy", "SCHED_RR", "process.scheduler.priority", "needs a priority"),
    ("process.scheduler.policy", "SCHED_OTHER", "process.scheduler.runtime", "SCHED_DEADLINE alone"),
    ("process.scheduler.runtime", 0, "", "0 < runtime"),
    ("process.scheduler.deadline", 9, "process.scheduler.runtime", "0 < runtime"),
    ("process.scheduler.flags[0]", "SCHED_FLAG_X", "", "is unknown"),
    ("process.ioPriority.class", "IOPRIO_CLASS_NONE", "", "is unknown"),
    ("process.ioPriority.priority", 8, "", "out of range"),
    ("process.ioPriority.priority", None, "", "is required"),
    ("process.execCPUAffinity.initial", "1-0", "", "is not a range"),
    ("process.execCPUAffinity.final", "x", "", "is not a list"),
    ("process.execCPUAffinity.final", "99999", "", "is not a range"),
    ("process.execCPUAffinity.final", "1,,2", "", "is not a list"),
    ("process.selinuxLabel", "label", "", "SELinux is not enabled"),
    ("process.apparmorProfile", "profile", "", "AppArmor is not enabled"),
    ("root", None, "", "is required"),
    ("root.path", "", "", "is empty"),
    ("root.path", None, "", "is required"),
    ("root.path", "a\0", "", "NUL"),
    ("hostname", "x" * 65, "", "64 bytes"),
    ("domainname", "x" * 65, "", "64 bytes"),
    ("linux.namespaces", [{"type": "mount"}], "linux.", "without a new user namespace"),
    ("linux.namespaces", [], "linux.", ""),
    ("linux.namespaces", None, "linux.", ""),
    ("linux.namespaces[0].type", "moon", "", "is unknown"),
    ("linux.namespaces[0].type", None, "", "is required"),
    ("linux.namespaces[1].type", "pid", "", "a second pid namespace"),
    ("linux.namespaces[0].path", "relative", "", "not an absolute path"),
    ("linux.namespaces[0].path", "/no/such", "linux.namespaces", "cannot open /no/such"),
    ("linux.namespaces[0].path", "/proc/self/ns/net", "linux.namespaces", "is not a pid namespace"),
    ("linux.namespaces[0].path", "/dev/null", "linux.namespaces", "is not a pid namespace"),
    ("linux.uidMappings", None, "", "needs uidMappings and gidMappings"),
    ("linux.gidMappings", [], "linux.uidMappings", "needs uidMappings and gidMappings"),
    ("linux.uidMappings[0].size", 0, "", "is 0"),
    ("linux.uidMappings[0].hostID", -1, "", "out of range"),
    ("linux.uidMappings[0].containerID", None, "", "is required"),
    ("linux.gidMappings[0].size", 1 << 32, "", "out of range"),
    ("linux.timeOffsets.realtime", {"secs": 1}, "", "is not a clock"),
    ("linux.timeOffsets.monotonic.nanosecs", 10**9, "", "out of range"),
    ("linux.timeOffsets.monotonic.secs", 1 << 63, "", "out of range"),
    ("linux.devices[0].path", "dev/x", "", "not an absolute path"),
    ("linux.devices[0].path", None, "", "is required"),
    ("linux.devices[0].type", "x", "", "is unknown"),
    ("linux.devices[0].major", None, "", "is required"),
    ("linux.devices[0].major", 4096, "", "out of range"),
    ("linux.devices[0].minor", 1 << 20, "", "out of range"),
    ("linux.devices[0].fileMode", -1, "", "out of range"),
    ("linux.devices[0].uid", 1 << 32, "", "out of range"),
    ("linux.netDevices.moon0", {}, "", "no such device"),
    ("linux.netDevices.lo.name", "a/b", "", "is not a device's name"),
    ("linux.netDevices.lo.name", "x" * 16, "", "is not a device's name"),
    ("linux.netDevices.lo.name", "a%s", "", "one %d"),
    ("linux.netDevices.lo.name", "..", "", "is not a device's name"),
    ("linux.cgroupsPath", "a\0", "", "NUL"),
    ("linux.resources.memory.limit", -2, "", ""),
    ("linux.resources.memory.swap", 1 << 70, "", ""),
    ("linux.resources.memory.swappiness", 50, "", ""),
    ("linux.resources.memory.kernel", 1, "", ""),
    ("linux.resources.cpu.shares", -1, "", ""),
    ("linux.resources.cpu.realtimeRuntime", 1, "", ""),
    ("linux.resources.cpu.idle", 2, "", ""),
    ("linux.resources.pids.limit", -5, "", ""),
    ("linux.resources.blockIO.weight", 5, "", ""),
    ("linux.resources.blockIO.leafWeight", 5, "", ""),
    ("linux.resources.hugepageLimits[0].pageSize", "x", "", ""),
    ("linux.resources.hugepageLimits[0].limit", -1, "", ""),
    ("linux.resources.devices[1].type", "x", "", ""),
    ("linux.resources.devices[1].access", "x", "", ""),
    ("linux.resources.devices[1].major", 1 << 40, "", ""),
    ("linux.resources.devices[1].allow", None, "", ""),
    ("linux.resources.unified", {"../x": "1"}, "linux.resources.unified", ""),
    ("linux.resources.rdma.mlx5_1.hcaHandles", -1, "", ""),
    ("linux.rootfsPropagation", "moon", "", "is unknown"),
    ("linux.seccomp.defaultAction", "SCMP_ACT_MOON", "", ""),
    ("linux.seccomp.defaultAction", None, "", "is required"),
    ("linux.seccomp.defaultErrnoRet", 4096, "", ""),
    ("linux.seccomp.architectures[0]", "SCMP_ARCH_MOON", "", "no architecture"),
    ("linux.seccomp.flags[0]", "MOON", "", ""),
    ("linux.seccomp.listenerPath", None, "linux.seccomp", "listenerPath"),
    ("linux.seccomp.syscalls[0].names", [], "", "at least one"),
    ("linux.seccomp.syscalls[0].action", None, "", "is required"),
    ("linux.seccomp.syscalls[0].action", "x", "", ""),
    ("linux.seccomp.syscalls[0].errnoRet", 1, "", "takes no errno"),
    ("linux.seccomp.syscalls[2].errnoRet", 5000, "", ""),
    ("linux.seccomp.syscalls[0].args[0].index", 6, "", ""),
    ("linux.seccomp.syscalls[0].args[0].op", "SCMP_CMP_X", "", ""),
    ("linux.seccomp.syscalls[0].args[0].value", -1, "", ""),
    ("linux.seccomp.syscalls[0].args[0].value", None, "", "is required"),
    ("linux.seccomp.syscalls[0].args[0].valueTwo", 1 << 64, "", ""),
    ("linux.sysctl.kernel.panic", "1", "", "is not namespaced"),
    ("linux.sysctl.kernel.hostname", "x", "", "is set by hostname"),
    ("linux.sysctl.net.a b", "1", "", "is not the name"),
    ("linux.sysctl.net..x", "1", "", "is not the name"),
    ("linux.sysctl.net.x", "1\n", "", "control"),
    ("linux.maskedPaths[0]", "x", "", "not an absolute path"),
    ("linux.readonlyPaths[0]", "", "", "not an absolute path"),
    ("linux.mountLabel", "label", "", "SELinux is not enabled"),
    ("linux.intelRdt.closID", "..", "", "is not the name of a group"),
    ("linux.intelRdt.closID", "a/b", "", "is not the name of a group"),
    ("linux.intelRdt.memBwSchema", "L3:0=f", "", "does not begin with MB:"),
    ("linux.intelRdt.schemata[0]", "x", "", "is not one line"),
    ("linux.memoryPolicy.mode", "MPOL_MOON", "", "is unknown"),
    ("linux.memoryPolicy.mode", None, "", "is required"),
    ("linux.memoryPolicy.mode", "MPOL_DEFAULT", "linux.memoryPolicy.nodes", "takes no nodes"),
    ("linux.memoryPolicy.nodes", "", "", "needs nodes"),
    ("linux.memoryPolicy.nodes", "9999", "", "is not a range"),
    ("linux.memoryPolicy.flags", ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"], "", "exclude each other"),
    ("linux.memoryPolicy.flags[0]", "x", "", "is unknown"),
    ("linux.personality.domain", "BSD", "", "is unknown"),
    ("linux.personality.domain", None, "", "is required"),
    ("linux.personality.flags", ["x"], "", "no flags"),
    ("mounts[0].destination", "", "", "is empty"),
    ("mounts[0].destination", None, "", "is required"),
    ("mounts[0].type", None, "", "is required"),
    ("mounts[0].options[0]", "\0", "", "NUL"),
    ("mounts[0].options[0]", "idmap", "mounts[0].uidMappings", "for bind mounts"),
    ("mounts[0].options[0]", "tmpcopyup", "mounts[0].options", "is for tmpfs"),
    ("mounts[3].options", True, "", "expected an array"),
    ("mounts[2].source", None, "", "is required"),
    ("mounts[2].source", "", "", "is required"),
    ("mounts[2].options[0]", "tmpcopyup", "mounts[2].options", "is for tmpfs"),
    ("mounts[2].uidMappings", None, "", "need each other"),
    ("mounts[2].gidMappings", [], "", "need each other"),
    ("mounts[2].uidMappings[0].size", 0, "", "is 0"),
    ("hooks.prestart[0].path", "true", "", "not an absolute path"),
    ("hooks.createRuntime[0].path", None, "", "is required"),
    ("hooks.createContainer[0].timeout", 0, "", "out of range"),
    ("hooks.startContainer[0].timeout", -1, "", "out of range"),
    ("hooks.poststart[0].timeout", 1 << 40, "", "out of range"),
    ("hooks.poststart[0].env[0]", "x", "", "NAME=VALUE"),
    ("hooks.poststop[0].args[1]", "\0", "", "NUL"),
    ("annotations.", "x", "annotations", "without a name"),
    ("annotations.com", "a\0", "", "NUL"),
]  # fmt: skip


def place(document: Any, path: str) -> tuple[str | int, ...]:
    """``mounts[0].options`` as keys and indexes; below FREE the rest is one key, which may have dots."""
    for free in FREE:
        if path.startswith(free + ".") and not path.startswith(("linux.netDevices.lo.", "linux.resources.rdma.")):
            return (*place(document, free), path[len(free) + 1 :])
    parts: list[str | int] = []
    for word in path.split("."):
        name, *indexes = word.replace("]", "").split("[")
        parts += [name, *[int(index) for index in indexes]]
    return tuple(parts)


@pytest.mark.parametrize(
    ("path", "value", "where", "words"), CORPUS, ids=[f"{path}={str(value)[:20]!r}" for path, value, _, _ in CORPUS]
)
def test_a_broken_config(path: str, value: Any, where: str, words: str) -> None:
    spec = full()
    put(spec, place(spec, path), value)
    with pytest.raises(SpecError) as caught:
        compiled(spec)
    said = caught.value.message
    assert said.startswith(where or path) and words in said and said.isprintable(), said


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 150 and len(TYPES) >= 150


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "/", "x", "/proc/self/ns/pid", "0-3", "bind", "-1", "a=b", "1.0.0", "SCMP_ACT_NOTIFY", "%d"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.text(max_size=8), st.sampled_from(["type", "path", "options", "names", "uid"])),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)
PLACES = paths(full())


@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
def test_any_value_anywhere_compiles_or_is_refused(changes: list[tuple[tuple[str | int, ...], Any]]) -> None:
    spec = full()
    for at, value in changes:
        try:
            put(spec, at, value)
        except (KeyError, IndexError, TypeError):
            continue  # another change has taken the place away
    try:
        compiled(spec)
    except Error as error:
        assert "\n" not in error.message


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PLACES), min_size=1, max_size=4))
def test_any_property_may_be_missing(removed: list[tuple[str | int, ...]]) -> None:
    spec = full()
    for at in removed:
        try:
            del get(spec, at[:-1])[at[-1]]
        except (KeyError, IndexError, TypeError):
            continue
    try:
        compiled(spec)
    except Error as error:
        assert "\n" not in error.message


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES)
def test_any_document_is_refused_or_compiled(document: Any) -> None:
    if not isinstance(document, dict):
        return  # read_bundle has refused it
    try:
        compiled(document)
    except Error as error:
        assert "\n" not in error.message


def test_read_bundle_refuses_what_is_no_object(tmp_path: Path) -> None:
    for text, words in (
        ("", "config.json"),
        ("[]", "expected a JSON object"),
        ("{", "config.json"),
        ('{"a": NaN}', "config.json"),
        ("{" * 100_000, "config.json"),
        ('{"a": 1, "a": 2}', ""),
    ):
        (tmp_path / "config.json").write_text(text)
        try:
            create.read_bundle(str(tmp_path))
        except Error as error:
            assert words in error.message and "\n" not in error.message, text
        else:
            assert words == ""
