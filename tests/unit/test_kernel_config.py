"""The configuration file: what is taken, what is refused, and that it is not parsed twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pycontain.kernel import config
from pycontain.kernel.errors import Error

DEFAULTS = {
    "cgroup_manager": "cgroupfs",
    "missing_controllers": "error",
    "userns": "auto",
    "id_pool": "",
    "id_user": "pycontain",
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "pycontain.toml"
    monkeypatch.setenv(config.VARIABLE, str(path))
    return path


def test_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(config.VARIABLE, raising=False)
    monkeypatch.setattr(config, "PATH", str(tmp_path / "none"))
    assert config.load() == DEFAULTS


def test_a_file_that_is_named_has_to_be_there(file: Path) -> None:
    with pytest.raises(Error, match=f"{file}: No such file or directory: PYCONTAIN_CONFIG names it"):
        config.load()


def test_what_it_has_wins(file: Path) -> None:
    file.write_text('# a comment\nmissing_controllers = "warn"\n')
    assert config.load() == {**DEFAULTS, "missing_controllers": "warn"}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("missing_controllers = warn", "is not TOML: Invalid value"),
        ('missing_controllers = "maybe"', "missing_controllers: 'maybe' is none of error, warn"),
        ("missing_controllers = 1", "missing_controllers: 1 is none of error, warn"),
        ('cgroup_manager = ["systemd"]', "cgroup_manager: ['systemd'] is none of cgroupfs, systemd"),
        ('colour = "red"', "colour: is not a setting; there are cgroup_manager, missing_controllers"),
        ('userns = "maybe"', "userns: 'maybe' is none of auto, host, keep-id"),
        ("id_pool = 5", "id_pool: 5 is not what it should be"),
        ('id_pool = "5"', "id_pool: '5' is not START:SIZE"),
        ('id_pool = "0:65536"', "without ID 0"),
        ('id_pool = "100:70,120:70"', "'120:70' has IDs that another part has"),
        ('id_user = "a:b"', "id_user: 'a:b' is not what it should be"),
        ("[section]", "section: is not a setting"),
        (b"\xff", "is not UTF-8 text"),
    ],
)
def test_what_it_refuses(file: Path, text: str | bytes, answer: str) -> None:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Error) as caught:
        config.load()
    assert caught.value.message.startswith(f"{file}: ") and answer in caught.value.message
    assert "\n" not in caught.value.message


def test_a_directory(file: Path) -> None:
    file.mkdir()
    with pytest.raises(Error, match="Is a directory"):
        config.load()


def test_it_is_parsed_once(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('cgroup_manager = "systemd"\n')
    cache = tmp_path / "cache"
    cache.mkdir()
    assert config.load(str(cache))["cgroup_manager"] == "systemd"
    script = (
        "import sys; from pycontain.kernel import config; print(config.load(sys.argv[1]), 'tomllib' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, str(cache)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout == f"{ {**DEFAULTS, 'cgroup_manager': 'systemd'} } False\n"
    file.write_text('cgroup_manager = "cgroupfs"\n')
    assert config.load(str(cache))["cgroup_manager"] == "cgroupfs"
    for damage in ("", "[]", '{"stamp": 1}', "{"):
        (cache / "config.json").write_text(damage)
        assert config.load(str(cache))["cgroup_manager"] == "cgroupfs"
