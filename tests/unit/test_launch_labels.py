"""Security labels where their module is: which records, which mount options."""

from __future__ import annotations

from pathlib import Path

import pytest

from pycontain.kernel.errors import SpecError
from pycontain.launch import labels, mounts, ops, ops_mounts
from pycontain.launch.ops_spec import ExecLabel
from test_launch_compile import ops_of, spec


@pytest.fixture
def enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "apparmor_enabled", lambda: True)
    monkeypatch.setattr(labels, "selinux_enabled", lambda: True)


@pytest.mark.usefixtures("enabled")
def test_labels_of_the_process() -> None:
    value = spec(process__apparmorProfile="docker-default", process__selinuxLabel="system_u:system_r:x")
    assert ops_of(value, ExecLabel) == [
        ExecLabel("apparmor/exec", "exec docker-default"),
        ExecLabel("exec", "system_u:system_r:x"),
    ]
    assert ops_of(spec(process__apparmorProfile="unconfined"), ExecLabel) == [
        ExecLabel("apparmor/exec", "exec unconfined")
    ]


@pytest.mark.usefixtures("enabled")
def test_labels_come_right_before_exec() -> None:
    names = [op.name for op in ops_of(spec(process__selinuxLabel="x"), ops.Op)]
    assert names[-2:] == ["exec_label", "exec"]


@pytest.mark.usefixtures("enabled")
def test_a_mount_label_goes_to_file_systems_that_take_one() -> None:
    value = spec(
        linux__mountLabel="x:y",
        mounts=[
            {"destination": "/a", "type": "tmpfs", "options": ["size=1k"]},
            {"destination": "/b", "type": "proc"},
            {"destination": "/c", "type": "tmpfs", "options": ["context=z"]},
            {"destination": "/d", "type": "bind", "source": "/s"},
        ],
    )
    options = [op.values[4] for op in ops_of(value, ops_mounts.Mount)]
    assert options == [["size=1k", "context=x:y"], [], ["context=z"]]


def test_no_label_is_no_record() -> None:
    assert ops_of(spec(process__apparmorProfile="", process__selinuxLabel=""), ExecLabel) == []
    assert labels.with_context("tmpfs", ["a"], "") == ["a"]


def test_how_the_modules_are_found(tmp_path: Path) -> None:
    path = tmp_path / "enabled"
    assert not labels.apparmor_enabled(str(path)) and not labels.selinux_enabled(str(path))
    path.write_text("N\n")
    assert not labels.apparmor_enabled(str(path))
    path.write_text("Y\n")
    assert labels.apparmor_enabled(str(path)) and labels.selinux_enabled(str(path))


def test_a_mount_label_without_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "selinux_enabled", lambda: False)
    with pytest.raises(SpecError, match=r"linux.mountLabel: SELinux is not enabled"):
        ops_of(spec(linux__mountLabel="x"), ops_mounts.Mount)
    assert mounts.parse_options([]).data == []
