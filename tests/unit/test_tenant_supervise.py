"""What a unit is told of its tenant, and what it asks."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from pycontain.cgroup.unit import INFINITY
from pycontain.engine.paths import Paths
from pycontain.kernel import lock
from pycontain.tenant import boot, life, service, supervise
from pycontain.tenant.place import Tenants


def group(directory: Path, **files: str) -> str:
    directory.mkdir()
    for name, text in files.items():
        (directory / name.replace("_", ".", 1)).write_text(text)
    return str(directory)


def test_the_weights_of_a_unit_are_those_of_its_tenant(tmp_path: Path) -> None:
    unset = INFINITY
    usual = group(tmp_path / "usual", cpu_weight="100\n", io_weight="default 100\n", memory_low="0\n")
    assert supervise.weights(usual) == {"CPUWeight": unset, "IOWeight": unset, "MemoryLow": 0}
    own = group(tmp_path / "own", cpu_weight="250\n", io_weight="default 30\n7:0 500\n", memory_low="4096\n")
    assert supervise.weights(own) == {"CPUWeight": 250, "IOWeight": 30, "MemoryLow": 4096}
    whole = group(tmp_path / "whole", memory_low="max\n")
    assert supervise.weights(whole)["MemoryLow"] == unset
    assert supervise.weights(str(tmp_path / "none")) == {"CPUWeight": unset, "IOWeight": unset, "MemoryLow": 0}


def test_no_more_start_than_there_are_places(tmp_path: Path) -> None:
    tenants = Tenants(Paths(str(tmp_path / "root"), str(tmp_path / "run")), str(tmp_path / "etc"))
    first, second = supervise._slot(tenants, 2), supervise._slot(tenants, 2)
    places = sorted((tmp_path / "run" / "starting").iterdir())
    assert [lock.is_locked(lock.open_lock(str(path))) for path in places] == [True, True]
    assert first != second


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"EXIT_CODE": "exited", "EXIT_STATUS": "3"}, "its init ended with status 3, or could not be started"),
        ({"EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}, "its monitor was killed (KILL)"),
        ({}, "timeout"),
    ],
)
def test_why_a_unit_has_failed(variables: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EXIT_CODE", "EXIT_STATUS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert supervise._reason("timeout") == reason


@pytest.mark.parametrize(
    ("active", "ran", "again", "starts"),
    [(False, False, False, False), (False, True, False, True), (True, False, False, True), (False, False, True, True)],
)
def test_as_before(active: bool, ran: bool, again: bool, starts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "target_active", lambda: active)
    monkeypatch.setattr(service, "comes_again", lambda name: again)
    monkeypatch.setattr("pycontain.tenant.boot.ran", lambda tenants, name: ran)
    assert supervise.onboot(Tenants(Paths("/none", "/none")), "a") is starts


def test_units_are_of_the_usual_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "booted", lambda: True)
    monkeypatch.setattr(service, "installed", lambda: True)
    assert service.ours(Tenants(Paths("/var/lib/pycontain", "/run/pycontain")))
    assert not service.ours(Tenants(Paths("/srv/other", "/run/pycontain")))
    assert not service.ours(Tenants(Paths("/var/lib/pycontain", "/run/pycontain"), "/srv/settings"))


@pytest.mark.parametrize(("down", "called", "said"), [(True, ["remember", "down"], ["no criu"]), (False, ["stop"], [])])
def test_the_hosts_going_down_is_no_stop(
    down: bool, called: list[str], said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenants = Tenants(Paths(str(tmp_path / "root"), str(tmp_path / "run")), str(tmp_path))
    (tmp_path / "a.toml").write_text('version = 1\n[boot]\nshutdown = "suspend"\n')
    seen: list[str] = []

    def going_down(_tenant: object) -> str:
        seen.append("down")
        return "no criu"

    monkeypatch.setattr(service, "going_down", lambda: down)
    monkeypatch.setattr(boot, "running", lambda *_: True)
    monkeypatch.setattr(boot, "remember", lambda *_: seen.append("remember"))
    monkeypatch.setattr(supervise, "hold", lambda *_: nullcontext(object()))
    monkeypatch.setattr(life, "down_held", going_down)
    monkeypatch.setattr(life, "stop_held", lambda _: seen.append("stop"))
    assert supervise.stop(tenants, "a") == said and seen == called
