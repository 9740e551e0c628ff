"""What verbs of tenants put back or complete: after a refusal, and after an interruption."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pycontain.engine.paths import Paths
from pycontain.kernel.errors import Error
from pycontain.tenant import boot, change, holds, rename, service, snapshots, state
from pycontain.tenant import disk as disks
from pycontain.tenant.hold import Tenant
from pycontain.tenant.place import Tenants
from pycontain.tenant.settings import Settings

OLD = "version = 1\n"
NEW = 'version = 1\n[boot]\nonboot = "yes"\n[disk]\nspace = "8M"\n'


@pytest.fixture
def tenant(tmp_path: Path) -> Tenant:
    tenants = Tenants(Paths(str(tmp_path / "root"), str(tmp_path / "run")), str(tmp_path / "etc"))
    tenants.paths.prepare()
    Path(tenants.directory).mkdir()
    Path(tenants.settings_path("a")).write_text(OLD)
    Path(tenants.state_directory("a")).mkdir(parents=True)
    return Tenant(tenants, "a", state.State(id=101, container="a" * 64))


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What systemd was told of onboot."""
    found: list[str] = []

    def follow(_tenants: Tenants, _names: list[str], instead: boot.Turn) -> list[str]:
        found.append(instead.onboot)
        return []

    monkeypatch.setattr(service, "follow", follow)
    monkeypatch.setattr(change, "_check", lambda *_: None)
    return found


def test_a_refused_change_of_a_stopped_tenant_is_undone(
    tenant: Tenant, followed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> list[str]:
        raise Error("too small")

    monkeypatch.setattr(disks, "change", refuse)
    with pytest.raises(Error, match="too small"):
        change.replace_held(tenant, NEW)
    assert followed == ["yes", "no"]
    assert Path(tenant.path).read_text() == OLD and tenant.state.phase == state.NONE


def test_an_interrupted_change_of_a_stopped_tenant_is_undone(
    tenant: Tenant, followed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces: list[str] = []

    def resize(_tenant: Tenant, _old: object, new: Settings, keys: list[str]) -> list[str]:
        spaces.append(new.disk.space)
        return keys

    monkeypatch.setattr(disks, "change", resize)
    tenant.phase(state.SETTING, before=OLD)
    Path(tenant.path).write_text(NEW)
    change.undo(tenant)
    assert (followed, spaces) == (["no"], [""])
    assert Path(tenant.path).read_text() == OLD and tenant.state.phase == state.NONE


def test_the_unit_follows_a_rename_that_was_interrupted(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[tuple[str, ...]] = []
    monkeypatch.setattr(rename, "_container", lambda *_: None)
    monkeypatch.setattr(service, "follow_or_say", lambda _, *names: followed.append(names))
    tenant.phase(state.RENAMING, to="b", old="a")
    rename.recover(tenant)
    assert followed == [("a", "b")] and tenant.tenants.exists("b") and tenant.state.phase == state.NONE


def test_a_snapshot_is_removed_though_another_removal_was_interrupted(tenant: Tenant) -> None:
    directory = Path(snapshots.directory(tenant))
    for name in (".gone-one", "one"):
        (directory / name / "upper").mkdir(parents=True)
        (directory / name / "upper" / "file").write_text("")
    value = {"created": "", "description": "", "kind": "copy", "size": 0, "image_id": "", "image": "", "disk": {}}
    snapshots.remove(snapshots.Snapshot(f"{directory}/one", value))
    assert os.listdir(directory) == []


def test_a_damaged_snapshot_holds_all_and_fails_nobody(tenant: Tenant) -> None:
    Path(tenant.paths.container("a" * 64)).mkdir()
    used = Path(tenant.paths.root, "images", "1" * 24, "used", "a" * 64)
    used.parent.mkdir(parents=True)
    used.write_text("")
    damaged = Path(snapshots.directory(tenant), "one")
    damaged.mkdir(parents=True)
    (damaged / "snapshot.json").write_text("{}")
    holds.settle(tenant)
    assert used.exists()


def test_a_restart_by_systemd_does_not_ask_how_it_was_before(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered = f"{tenant.directory}/{boot.BEFORE}"
    seen: list[bool] = []
    monkeypatch.setattr(service, "systemctl", lambda *_: seen.append(os.path.exists(remembered)))
    service.restart(tenant.tenants, "a")
    assert seen == [True, True]
