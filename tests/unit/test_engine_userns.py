"""Which user namespace --userns gives, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pycontain.cli import values
from pycontain.engine import record, userns
from pycontain.engine.paths import Paths
from pycontain.kernel.errors import Error, UsageError
from pycontain.kernel.idmap import ALL, Maps
from pycontain.storage.users import User

SETTINGS = {"userns": "auto", "id_pool": "500000:131072", "id_user": "pycontain"}
A, B = "a" * 64, "b" * 64


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(str(tmp_path / "root"), str(tmp_path / "run"))
    made.prepare()
    return made


def container(paths: Paths, container_id: str, **values: Any) -> None:
    os.mkdir(paths.container(container_id))
    record.write_first(paths, record.Record(id=container_id, name=container_id[:3], **values))
    os.symlink(f"../containers/{container_id}", paths.name(container_id[:3]))


def choose(paths: Paths, text: str = "", network: str = "bridge") -> userns.Userns:
    return userns.choose(paths, text, SETTINGS, network, A)


def test_the_default_is_the_configuration_files(paths: Paths) -> None:
    found = choose(paths)
    assert found.mode == "auto" and found.leases == ["500000-500000"]
    assert found.maps is not None and found.maps.uids == [(0, 500000, 65536)]
    assert userns.choose(paths, "", {**SETTINGS, "userns": "host"}, "bridge", B).maps is None


def test_sizes(paths: Paths) -> None:
    found = choose(paths, "auto:size=10")
    assert found.maps is not None and found.maps.uids == [(0, 500000, 10)]


def test_root_keeps_all_ids(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    found = choose(paths, "keep-id")
    assert found.maps is not None and found.maps.uids == [(0, 0, ALL)] and not found.leases


def test_another_user_keeps_its_own(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 100)
    found = choose(paths, "keep-id")
    assert found.maps is not None and (1000, 1000, 1) in found.maps.uids and (100, 100, 1) in found.maps.gids
    assert found.leases == ["500000-500000"]


def test_private_maps_stay_out_of_the_pool(paths: Paths) -> None:
    found = choose(paths, "private:0:100:10")
    assert found.maps is not None and found.maps.gids == [(0, 100, 10)]
    with pytest.raises(UsageError, match="631000:1000 has host IDs of the pool of automatic ranges"):
        choose(paths, "private:0:631000:1000")


def test_another_containers(paths: Paths) -> None:
    container(paths, A, userns="auto", uid_map=[[0, 5, 6]], gid_map=[[0, 7, 8]])
    container(paths, B, userns="host")
    found = choose(paths, "container:aaa")
    assert found.mode == f"container:{A}" and found.joined
    assert found.maps is not None and (found.maps.uids, found.maps.gids) == ([(0, 5, 6)], [(0, 7, 8)])
    assert choose(paths, "container:bbb").mode == "host"


def test_with_the_network_of_another_container_its_user_namespace_comes(paths: Paths) -> None:
    container(paths, A, userns="auto", uid_map=[[0, 5, 6]], gid_map=[[0, 7, 8]])
    container(paths, B, userns="host")
    assert choose(paths, network=f"container:{A}").mode == f"container:{A}"
    assert choose(paths, "container:aaa", network=f"container:{A}").mode == f"container:{A}"
    assert choose(paths, network=f"container:{B}").mode == "host"
    for text, other in (("host", A), ("auto", A), ("auto", B), ("container:aaa", B)):
        with pytest.raises(UsageError, match=f"--userns {text}: the container whose network is to be joined is in"):
            choose(paths, text, network=f"container:{other}")


def test_users_that_the_container_does_not_have() -> None:
    space = userns.Userns("auto", Maps([(0, 100, 10)], [(0, 100, 20)]))
    userns.check_user(space, User(9, 19, (5,)))
    userns.check_user(userns.Userns("host"), User(10**6, 10**6))
    with pytest.raises(Error, match=r"uid 10 is not among .* end at 9: give it more \(--userns auto:size=11\)"):
        userns.check_user(space, User(10, 0))
    with pytest.raises(Error, match="gid 20 is not among"):
        userns.check_user(space, User(0, 0, (20,)))


@pytest.mark.parametrize(
    "text", ["auto", "auto:size=1", "host", "keep-id", "private:0:5:6,6:20:1", "container:web", "auto:size=1073741824"]
)
def test_what_the_flag_takes(text: str) -> None:
    assert values.userns(text) == text


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", "is not a user namespace: give auto"),
        ("nomap", "is not a user namespace"),
        ("auto:", "is not a user namespace"),
        ("auto:5", "'5' is not size=N"),
        ("auto:size=0", "is not size=N"),
        ("auto:size=-1", "is not size=N"),
        ("auto:size=1073741825", "is not size=N"),
        ("host:x", "is not a user namespace"),
        ("private", "is not a user namespace"),
        ("private:0:1", "is not UID:HOST:SIZE"),
        ("container:", "is not a user namespace"),
        ("container:\x1b", "control character"),
    ],
)
def test_what_the_flag_refuses(text: str, answer: str) -> None:
    with pytest.raises(UsageError, match=answer):
        values.userns(text)


def test_an_ordinary_user_has_one_namespace() -> None:
    assert userns.ordinary("").mode == userns.ordinary("host").mode == "host"
    with pytest.raises(UsageError, match="--userns auto: containers of a user who is not root"):
        userns.ordinary("auto")
