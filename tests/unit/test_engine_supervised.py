"""--supervise: which containers cannot have which switch."""

from __future__ import annotations

from typing import Any

import pytest

from pycontain.engine import supervised
from pycontain.engine.record import Record
from pycontain.kernel import rootless
from pycontain.kernel.errors import UsageError


def spec(**linux: Any) -> dict[str, Any]:
    return {"linux": {"maskedPaths": ["/proc/kcore", "/sys/firmware"], **linux}}


def record(*switches: str, **values: Any) -> Record:
    return Record(**{"supervise": list(switches), "uid_map": [[0, 5, 6]], "seccomp": "default", **values})


@pytest.fixture(autouse=True)
def root_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootless, "inside", lambda: False)


@pytest.mark.parametrize("switch", ["mknod", "sysinfo", "mount=tmpfs,overlay,fuse"])
def test_all_are_for_a_container_with_a_user_namespace(switch: str) -> None:
    supervised.check(record(switch), spec())


def test_without_one_there_is_sysinfo() -> None:
    supervised.check(record("sysinfo", uid_map=[]), spec())
    for switch in ("mknod", "mount=tmpfs"):
        with pytest.raises(UsageError, match="only for a container in a user namespace of its own"):
            supervised.check(record(switch, uid_map=[]), spec())


def test_an_ordinary_user_makes_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootless, "inside", lambda: True)
    supervised.check(record("sysinfo", "mount=tmpfs", uid_map=[]), spec())
    with pytest.raises(UsageError, match="--supervise mknod: devices can be made by root only"):
        supervised.check(record("mknod", uid_map=[]), spec())


def test_one_listener_a_process() -> None:
    rules = [{"names": ["reboot"], "action": "SCMP_ACT_NOTIFY"}]
    with pytest.raises(UsageError, match="SCMP_ACT_NOTIFY"):
        supervised.check(record("sysinfo"), spec(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))


def test_an_overlay_would_show_what_is_masked_in_the_image() -> None:
    masked = spec(maskedPaths=["/proc/kcore", "/etc/secret"])
    supervised.check(record("mount=tmpfs,fuse"), masked)
    with pytest.raises(UsageError, match="mask=/etc/secret"):
        supervised.check(record("mount=overlay"), masked)


@pytest.mark.parametrize(
    ("values", "passes"),
    [
        ({}, False),
        ({"capabilities": ["CAP_SYS_ADMIN"]}, True),
        ({"seccomp": "unconfined"}, True),
        ({"seccomp": "custom", "capabilities": ["CAP_SYS_ADMIN"]}, False),
    ],
)
def test_whose_filter_lets_a_mount_through(values: dict[str, Any], passes: bool) -> None:
    assert supervised._passes_mounts(record("mount=tmpfs", **values)) is passes
