"""What Python decides for ordinary users: paths, words, programs, cgroups."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

import pytest

from pycontain.cgroup import hierarchy, limits, systemd
from pycontain.cgroup.dbus import Unreachable
from pycontain.engine import delegation
from pycontain.engine.record import Record
from pycontain.kernel import rootless, rootless_hints
from pycontain.kernel.errors import Error
from pycontain.launch.compile import Surroundings, compile_spec
from pycontain.launch.ops import User
from pycontain.launch.ops_mounts import BIND_DEVICE, Bind, Device
from pycontain.network import port, usermode
from pycontain.oci import groupless, scope

SPEC: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "root": {"path": "/r"},
    "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
    "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
}


@pytest.fixture
def ordinary(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv(rootless.VARIABLE, "1000 7")
    monkeypatch.setenv(rootless.DIRECTORY, "/run/user/1000/pycontain")
    monkeypatch.setenv("HOME", "/home/ann")
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_root_is_no_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(rootless.VARIABLE, raising=False)
    assert (rootless.user(), rootless.lock(), rootless.problem()) == (-1, -1, "")
    assert rootless.VARIABLE not in rootless.environment()


def test_where_an_ordinary_users_things_are(ordinary: pytest.MonkeyPatch) -> None:
    assert (rootless.user(), rootless.lock()) == (1000, 7)
    assert rootless.home() == "/home/ann/.local/share/pycontain"
    assert rootless.configuration() == "/home/ann/.config/pycontain/pycontain.toml"
    assert rootless.run_directory() == "/run/user/1000/pycontain"
    ordinary.setenv("XDG_DATA_HOME", "/data")
    assert rootless.home() == "/data/pycontain"
    ordinary.setenv("XDG_DATA_HOME", "relative")  # the specification: to be ignored
    assert rootless.home() == "/home/ann/.local/share/pycontain"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"-unshare {errno.ENOSPC}", "max_user_namespaces"),
        (f"-unshare {errno.EPERM}", "no user namespace can be made"),
        (f"-directory {errno.EPERM}", "nobody else's to write"),
        (f"-map {errno.EPERM}", "cannot be set up (map"),
    ],
)
def test_why_there_is_no_namespace(monkeypatch: pytest.MonkeyPatch, words: str, said: str) -> None:
    monkeypatch.setenv(rootless.VARIABLE, words)
    assert said in rootless.problem()
    assert rootless.lock() == -1


@pytest.mark.parametrize(
    ("rows", "last"),
    [
        ([(0, 1000, 1)], 0),
        ([(0, 1000, 1), (1, 100000, 65536)], 65536),
        ([(1, 100000, 10), (0, 1000, 1), (11, 300000, 5)], 15),
        ([(0, 1000, 1), (5, 100000, 10)], 0),
        ([(1, 100000, 10)], -1),
    ],
)
def test_the_last_id(monkeypatch: pytest.MonkeyPatch, rows: list[tuple[int, int, int]], last: int) -> None:
    monkeypatch.setattr(rootless, "mapped", lambda kind: rows)
    assert rootless.last_id("gid") == last


def test_a_missing_range_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "apt-get install uidmap" in rootless_hints.single(4321)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert "/etc/subuid has no range for 4321: as root: usermod" in rootless_hints.single(4321)


# --- network ------------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    names = {"pasta", "slirp4netns"}
    monkeypatch.setattr(usermode, "locate", lambda name: f"/usr/bin/{name}" if name in names else "")
    monkeypatch.setattr(usermode, "tun_problem", lambda: "")
    return names


PORTS = [port.Port("", 8080, 80, "tcp"), port.Port("127.0.0.1", 5353, 53, "udp")]


def test_pasta_forwards_what_is_published_and_nothing_else(installed: set[str]) -> None:
    argv = usermode.carrier(PORTS, "/c/root", "/run/net").argv
    words = " ".join(argv)
    assert "-t 8080:80" in words and "-u 127.0.0.1/5353:53" in words
    assert "--no-map-gw" in argv and words.endswith("--netns-only --netns /c/root/net")
    assert "-t none -u none" in " ".join(usermode.carrier([], "/c/root", "/run/net").argv)


def test_slirp4netns_gets_requests(installed: set[str]) -> None:
    installed.remove("pasta")
    found = usermode.carrier(PORTS, "/c/root", "/run/net")
    assert found.stays and found.socket == "/run/net" and "--disable-host-loopback" in found.argv
    assert json.loads(found.requests[1]) == {
        "execute": "add_hostfwd",
        "arguments": {"proto": "udp", "host_addr": "127.0.0.1", "host_port": 5353, "guest_port": 53},
    }
    assert usermode.carrier([], "/c/root", "/run/net").socket == ""


def test_neither_program(installed: set[str]) -> None:
    installed.clear()
    with pytest.raises(Error, match="apt-get install passt"):
        usermode.carrier([], "/c/root", "/run/net")


# --- cgroups ------------------------------------------------------------------------------------------------------


def record(missing: str = "error") -> Record:
    found = Record.__new__(Record)
    found.missing_controllers = missing
    return found


def test_limits_without_a_cgroup() -> None:
    spec = {"linux": {"resources": {"devices": [], "memory": {"limit": 1}}, "namespaces": [{"type": "pid"}]}}
    with pytest.raises(Error, match=r"memory limit: the memory controller is not available.*enable-linger"):
        delegation.check(spec, record())
    assert [text.partition(":")[0] for text in delegation.check(spec, record("warn"))] == ["memory limit"]
    spec["linux"]["resources"] = {"devices": []}
    assert delegation.check(spec, record()) == []
    spec["linux"]["namespaces"] = []
    with pytest.raises(Error, match="--pid host"):
        delegation.check(spec, record())


def test_oci_without_a_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    writes = limits.compile({"pids": {"limit": 5}})
    monkeypatch.setattr(groupless, "_reason", lambda path: "")
    assert groupless.check("/x", writes, "error") is None
    monkeypatch.setattr(groupless, "_reason", lambda path: "not ours")
    with pytest.raises(Error, match="pids limit: the pids controller is not available: not ours"):
        groupless.check("/x", writes, "error")
    lacking = groupless.check("/x", writes, "warn")
    assert lacking and lacking.warnings == ["pids limit: not kept: not ours"]
    lacking = groupless.check("/x", [], "error")
    assert lacking and lacking.warnings == []


def test_oci_without_a_systemd_of_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def place(*_: object) -> None:
        raise Unreachable("no systemd")

    monkeypatch.setattr(systemd, "place", place)
    monkeypatch.setattr(hierarchy, "find", lambda: None)
    monkeypatch.setattr(systemd, "ordinary", lambda: True)
    writes = limits.compile({"pids": {"limit": 5}})
    assert scope.place("", "c", [], "error", True) == (None, [])
    assert scope.place("", "c", writes, "warn", True) == (None, ["pids limit: not kept: no systemd"])
    with pytest.raises(Error, match="pids limit: the pids controller is not available: no systemd"):
        scope.place("", "c", writes, "error", True)
    for user, allowed in ((True, False), (False, True)):
        monkeypatch.setattr(systemd, "ordinary", lambda user=user: user)
        with pytest.raises(Unreachable, match=r"\Ano systemd\Z"):
            scope.place("", "c", [], "warn", allowed)


def test_who_a_process_is_outside_its_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(rootless.VARIABLE, raising=False)
    monkeypatch.setattr(rootless, "mapped", lambda: [(1, 100000, 65536), (0, 1000, 1)])
    for number, inside, owner in ((0, True, 1000), (0, False, 0), (5, True, 5)):
        monkeypatch.setattr("os.geteuid", lambda number=number: number)
        monkeypatch.setattr(rootless, "inside", lambda inside=inside: inside)
        assert rootless.owner() == owner
    monkeypatch.setenv(rootless.VARIABLE, "1234 7")
    assert rootless.owner() == 1234


@pytest.mark.parametrize(
    ("own", "writable", "may"),
    [
        ("/user.slice/u.service/app.scope", ("/user.slice/u.service",), True),
        ("/user.slice/session.scope", ("/user.slice/u.service",), False),
        ("/../outside", ("/",), False),
    ],
)
def test_where_a_process_may_be_made_in_a_scope(
    monkeypatch: pytest.MonkeyPatch, own: str, writable: tuple[str, ...], may: bool
) -> None:
    tree = hierarchy.Hierarchy("/m", "/", frozenset())
    monkeypatch.setattr(hierarchy.Hierarchy, "own", lambda self: own)
    monkeypatch.setattr("os.access", lambda path, mode: path in [f"/m{one}/cgroup.procs" for one in writable])
    moved: list[bool] = []
    monkeypatch.setattr(systemd, "move", lambda: moved.append(True))
    systemd.reach(tree, "/user.slice/u.service/c.scope/container")
    assert bool(moved) is not may


@pytest.mark.parametrize(("process", "pid"), [("/proc/self", os.getpid()), ("/proc/4321", 4321)])
def test_who_launches_is_moved(monkeypatch: pytest.MonkeyPatch, process: str, pid: int) -> None:
    """A planner stays where it is."""
    started: list[tuple[str, dict[str, Any]]] = []

    class Manager:
        def __init__(self, user: bool) -> None: ...

        def __enter__(self) -> Manager:
            return self

        def __exit__(self, *_: object) -> None: ...

        def start(self, unit: str, values: list[Any], empty: object) -> None:
            started.append((unit, dict(values)))

    monkeypatch.setattr(systemd, "Manager", Manager)
    monkeypatch.setattr(hierarchy, "PROCESS", process)
    systemd.move()
    ((unit, values),) = started
    assert (unit, values["PIDs"]) == (f"pycontain-{pid}.scope", ("au", [pid]))


# --- the plan -----------------------------------------------------------------------------------------------------


def compiled(**more: bool) -> list[object]:
    around = Surroundings("/b")
    for name, value in more.items():
        setattr(around, name, value)
    return [op for _, op in compile_spec(SPEC, around)[0]]


def test_devices_are_bound_in_a_user_namespace() -> None:
    assert any(isinstance(op, Device) for op in compiled())
    ops = compiled(nested=True)
    assert not any(isinstance(op, Device) for op in ops)
    assert sum(isinstance(op, Bind) and op.values[2] == BIND_DEVICE for op in ops) == 6


def test_groups_that_nobody_may_choose() -> None:
    (user,) = [op for op in compiled(nested=True, groups_denied=True) if isinstance(op, User)]
    assert user.values[3] == 1
    (user,) = [op for op in compiled(nested=True) if isinstance(op, User)]
    assert user.values[3] == 0
    around = Surroundings("/b")
    around.nested = around.groups_denied = True
    spec = {**SPEC, "process": {**SPEC["process"], "user": {"uid": 0, "gid": 0, "additionalGids": [5]}}}
    with pytest.raises(Error, match="additionalGids: this user namespace denies setgroups"):
        compile_spec(spec, around)
