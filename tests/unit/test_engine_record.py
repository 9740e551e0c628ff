"""Records of containers, also those that older versions have written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pycontain.engine import record
from pycontain.engine.paths import Paths
from pycontain.engine.record import Record
from pycontain.kernel.errors import Error

ID = "a" * 64


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(str(tmp_path / "root"), str(tmp_path / "run"))
    made.prepare()
    os.mkdir(made.container(ID))
    record.write(made, Record(id=ID, name="one", userns="auto", uid_map=[[0, 5, 6]], gid_map=[[0, 5, 6]]))
    return made


def without(paths: Paths, *keys: str) -> None:
    file = Path(record.path(paths, ID))
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key not in keys}))


def test_what_is_written_is_read(paths: Paths) -> None:
    found = record.read(paths, ID)
    assert (found.name, found.userns, found.uid_map) == ("one", "auto", [[0, 5, 6]])


def test_a_container_of_before_user_namespaces_is_in_the_hosts(paths: Paths) -> None:
    without(paths, "userns", "uid_map", "gid_map", "id_leases")
    found = record.read(paths, ID)
    assert (found.userns, found.uid_map, found.gid_map, found.id_leases) == ("host", [], [], [])


def test_a_container_of_before_supervised_calls_has_none(paths: Paths) -> None:
    without(paths, "supervise")
    assert record.read(paths, ID).supervise == []


@pytest.mark.parametrize("key", ["name", "layers", "uid_map", "id_leases"])
def test_one_that_lacks_something_is_damaged(paths: Paths, key: str) -> None:
    without(paths, key)
    with pytest.raises(Error, match=f"{key} is missing"):
        record.read(paths, ID)
