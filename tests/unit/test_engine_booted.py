"""Which containers boot a system, and what their specs have for it."""

from __future__ import annotations

from typing import Any

import pytest

from pycontain.engine import booted, confinement, lxcfs
from pycontain.engine.create import image_signal
from pycontain.engine.record import Record
from pycontain.engine.request import Request
from pycontain.engine.spec import may_boot
from pycontain.engine.userns import Userns
from pycontain.image.find import Image
from pycontain.kernel.errors import UsageError
from pycontain.kernel.idmap import Maps

OWN = Userns("auto", Maps([(0, 500000, 65536)], [(0, 500000, 65536)]))
ID = "0123456789abcdef" * 4


def request(**values: Any) -> Request:
    found = Request("image", [])
    for key, value in values.items():
        setattr(found, key, value)
    return found


def image(**config: Any) -> Image:
    found: Image = Image.__new__(Image)
    found.config = config
    return found


@pytest.mark.parametrize("command", ["systemd", "/sbin/init", "/usr/sbin/init", "/usr/lib/systemd/systemd"])
def test_an_init_boots(command: str) -> None:
    assert may_boot(request(), [command])
    assert not may_boot(request(systemd="false"), [command])
    assert booted.wanted(request(), OWN)


@pytest.mark.parametrize("command", ["sh", "init", "/bin/init", "/sbin/initx", "/opt/systemd"])
def test_another_command_does_not(command: str) -> None:
    assert not may_boot(request(), [command])
    assert may_boot(request(systemd="always"), [command])


@pytest.mark.parametrize(
    ("values", "space", "words"),
    [
        ({"init": True}, OWN, "--init: pycontain's own init"),
        ({"host_namespaces": {"pid"}}, OWN, "--pid host: its init"),
        ({}, Userns("host"), "--userns: a system that boots needs a user namespace"),
        ({}, Userns(f"container:{ID}", OWN.maps), "--userns: a system that boots needs a user namespace"),
    ],
)
def test_what_keeps_it_from_booting(values: dict[str, Any], space: Userns, words: str) -> None:
    assert not booted.wanted(request(**values), space)
    with pytest.raises(UsageError, match=words):
        booted.wanted(request(systemd="always", **values), space)


def test_what_it_is_given() -> None:
    asked, found = request(), Record(id=ID)
    booted.prepare(asked, image(), found)
    assert found.stop_signal == 37
    assert found.capabilities == confinement.capabilities(asked) and "CAP_SYS_BOOT" in found.capabilities
    assert asked.env["container"] == "pycontain" and asked.env["NOTIFY_SOCKET"] == "/run/host/notify"
    assert asked.env["container_uuid"] == "01234567-89ab-cdef-0123-456789abcdef"


def test_what_somebody_says_counts() -> None:
    asked, found = request(cap_drop=["sys_boot"], env={"container": "other"}), Record(id=ID, stop_signal=15)
    booted.prepare(asked, image(StopSignal="SIGUSR2"), found)
    assert found.stop_signal == 15 and asked.env["container"] == "other"
    assert "CAP_SYS_BOOT" not in confinement.capabilities(asked)
    found.stop_signal = 0
    booted.prepare(request(stop_signal=1), image(), found)
    assert found.stop_signal == 0


def spec(*targets: str, network: bool = True) -> dict[str, Any]:
    mounts = [{"destination": "/proc", "type": "proc", "options": []}]
    mounts.append({"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["nosuid", "ro"]})
    mounts += [{"destination": target, "type": "bind", "options": []} for target in targets]
    spaces = [{"type": "network"}] if network else []
    return {"mounts": mounts, "linux": {"namespaces": spaces, "readonlyPaths": ["/proc/bus", "/proc/sys"]}}


def test_its_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lxcfs, "mounts", list)
    found = spec("/srv")
    booted.adapt(found, Record(id=ID), "/run/x")
    targets = [mount["destination"] for mount in found["mounts"]]
    assert targets == ["/proc", "/run", "/run/lock", "/tmp", "/run/host/notify", "/sys/fs/cgroup", "/srv"]
    assert found["mounts"][4]["source"] == "/run/x/notify"
    assert found["mounts"][5]["options"] == ["nosuid", "rw"]


def test_a_users_mount_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lxcfs, "mounts", list)
    found = spec("/tmp/", "/run/lock")
    booted.adapt(found, Record(id=ID), "/run/x")
    targets = [mount["destination"] for mount in found["mounts"]]
    assert targets == ["/proc", "/run", "/run/host/notify", "/sys/fs/cgroup", "/tmp/", "/run/lock"]


@pytest.mark.parametrize("network", [True, False])
def test_its_own_settings_of_the_kernel_can_be_written(network: bool) -> None:
    found = spec(network=network)
    booted.adapt(found, Record(id=ID), "/run/x")
    paths = found["linux"]["readonlyPaths"]
    assert "/proc/bus" in paths and "/proc/sys/kernel" in paths and "/proc/sys/fs" in paths
    assert "/proc/sys" not in paths and "/proc/sys/user" not in paths
    assert ("/proc/sys/net" in paths) is not network


def test_what_was_unmasked_stays() -> None:
    found = spec()
    found["linux"]["readonlyPaths"] = []
    booted.adapt(found, Record(id=ID), "/run/x")
    assert found["linux"]["readonlyPaths"] == []


def test_without_lxcfs_there_is_a_reason(tmp_path: Any) -> None:
    assert lxcfs.mounts(str(tmp_path / "none")) == [] and lxcfs.mounts(str(tmp_path)) == []
    assert "lxcfs does not run" in lxcfs.problem(str(tmp_path / "none"))[0]
    (tmp_path / "proc").mkdir()
    assert "is no mount of lxcfs" in lxcfs.problem(str(tmp_path))[0]
    assert lxcfs.problem("/proc/..") == ("", "")


def test_lxcfs_is_bound_over_proc() -> None:
    """Any mount with files of these names will do: here it is /, whose proc is the kernel's."""
    found = lxcfs.mounts("/proc/..")
    assert [mount["destination"] for mount in found] == [f"/proc/{name}" for name in lxcfs.FILES]
    assert all("idmap" not in mount["options"] and "ro" in mount["options"] for mount in found)


@pytest.mark.parametrize(
    ("text", "number"),
    [("SIGRTMIN+3", 37), ("rtmin+3", 37), ("37", 37), ("SIGUSR2", 12), ("USR2", 12), ("RTMIN+99", 15), ("_IGN", 15)],
)
def test_the_stop_signal_of_an_image(text: str, number: int) -> None:
    assert image_signal(text) == number
