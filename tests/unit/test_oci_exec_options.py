"""pycontain-oci exec: the process that options and container make; descriptors, cgroups, ps(1)'s lines, tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pycontain.kernel.errors import Error, UsageError
from pycontain.launch.ops import (
    GUEST,
    Exec,
    Op,
    Setsid,
)
from pycontain.oci import descriptors, exec_process, home, ps, show, sockets, state, subgroup
from pycontain.oci.arguments import parse
from pycontain.oci.options import GLOBAL, VERBS

SPEC: dict[str, Any] = {
    "process": {
        "args": ["init"],
        "cwd": "/srv",
        "terminal": True,
        "env": ["A=1", "B=2"],
        "user": {"uid": 1, "gid": 2, "additionalGids": [3]},
        "capabilities": {"bounding": ["CAP_KILL"], "inheritable": []},
    }
}


def made(*line: str) -> dict[str, Any]:
    return exec_process.process(SPEC, parse(["exec", *line], GLOBAL, VERBS))


def test_the_containers_own_process_is_taken() -> None:
    process = made("c", "id", "-u")
    assert process == {**SPEC["process"], "args": ["id", "-u"], "terminal": False}


def test_options_change_it() -> None:
    process = made("-t", "-e", "B=3", "-e", "C=", "--cwd", "/tmp", "-u", "5:6", "-g", "7", "-g", "8", "--no-new-privs",
                   "c", "id")  # fmt: skip
    assert process["terminal"] is True and process["noNewPrivileges"] is True and process["cwd"] == "/tmp"
    assert process["env"] == ["A=1", "B=3", "C="]
    assert process["user"] == {"uid": 5, "gid": 6, "additionalGids": [3, 7, 8]}


def test_a_user_without_a_group_keeps_the_group() -> None:
    assert made("-u", "5", "c", "id")["user"]["gid"] == 2


@pytest.mark.parametrize("user", ["x", "-1", "1:", ":1", "1:2:3", "1.5", "0x1", "4294967295", "99999999999", " 1", "٣"])
def test_users_are_digits(user: str) -> None:
    with pytest.raises(UsageError, match="--user: "):
        made(f"--user={user}", "c", "id")


def test_capabilities_are_added_but_ambient_only_with_inheritable() -> None:
    sets = made("--cap", "CAP_SYS_TIME", "c", "id")["capabilities"]
    assert sets["bounding"] == ["CAP_KILL", "CAP_SYS_TIME"] and sets["effective"] == ["CAP_SYS_TIME"]
    assert "ambient" not in sets
    spec = {"process": {**SPEC["process"], "capabilities": {"inheritable": ["CAP_KILL"]}}}
    found = exec_process.process(spec, parse(["exec", "-c", "CAP_SYS_TIME", "c", "id"], GLOBAL, VERBS))
    assert found["capabilities"]["ambient"] == ["CAP_SYS_TIME"]


def test_a_file_makes_the_options_void(tmp_path: Path) -> None:
    path = tmp_path / "process.json"
    path.write_text('{"args": ["x"], "cwd": "/", "env": ["A=1", "A=2"]}')
    assert made("-p", str(path), "-u", "9", "-t", "c") == {"args": ["x"], "cwd": "/", "env": ["A=2"]}


@pytest.mark.parametrize(("content", "words"), [("[]", "expected a JSON object"), ("{", "not JSON")])
def test_files_that_are_none(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "process.json"
    path.write_text(content)
    with pytest.raises(Error, match=words):
        made("-p", str(path), "c")


def test_a_command_is_needed() -> None:
    with pytest.raises(UsageError, match="process args cannot be empty"):
        made("c")


def test_home_is_that_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:5:5::/srv/web:/bin/sh\n")
    for user, expected in (({}, "/root"), ({"uid": 5}, "/srv/web"), ({"uid": 6}, "/")):
        process = {"env": ["A=1"], "user": user}
        home.set_home(process, str(tmp_path))
        assert process["env"] == ["A=1", f"HOME={expected}"]
    given: dict[str, Any] = {"env": ["HOME=/here"], "user": {}}
    home.set_home(given, str(tmp_path))
    assert given["env"] == ["HOME=/here"]
    none: dict[str, Any] = {}
    home.set_home(none, str(tmp_path / "nowhere"))
    assert none["env"] == ["HOME=/"]


def test_preserved_descriptors_have_to_be_open() -> None:
    assert descriptors.check(0) == 0
    first = os.open("/dev/null", os.O_RDONLY)
    while first < 3:
        first = os.open("/dev/null", os.O_RDONLY)
    top = os.dup(first)
    os.close(top)
    with pytest.raises(Error, match=r"unable to stat preserved-fd .* it is not open"):
        descriptors.check(top - 3 + 200)
    with pytest.raises(Error, match="at most"):
        descriptors.check(100000)


def test_listening() -> None:
    mine = str(os.getpid())
    assert descriptors.listening({"LISTEN_PID": mine, "LISTEN_FDS": "2"}) == 2
    assert descriptors.listening({"LISTEN_PID": "1", "LISTEN_FDS": "2"}) == 0
    assert descriptors.listening({"LISTEN_PID": mine, "LISTEN_FDS": "x"}) == 0
    assert descriptors.listening({}) == 0


def test_the_program_keeps_them() -> None:
    records: list[tuple[int, Op]] = [(GUEST, Setsid()), (GUEST, Exec(["a"], ["B=1"]))]
    descriptors.keep(records, 3)
    assert records == [(GUEST, Setsid()), (GUEST, Exec(["a"], ["B=1"], 3))]


@pytest.mark.parametrize(
    ("given", "expected"), [([], ""), (["/a/b"], "a/b"), (["a"], "a"), (["/"], "")]
)  # fmt: skip
def test_groups_below(given: list[str], expected: str) -> None:
    assert subgroup.wanted(given) == expected


@pytest.mark.parametrize("given", [["cpu:/a"], [":/a"], ["a:b:c"], ["/a", "/b"], ["/../a"], [".."]])
def test_groups_that_cannot_be(given: list[str]) -> None:
    with pytest.raises(UsageError):
        subgroup.wanted(given)


@pytest.mark.parametrize(
    ("path", "terminal", "detached", "words"),
    [
        ("", True, True, "cannot allocate tty if"),
        ("/s", False, True, "cannot use console socket if"),
        ("/s", True, False, "cannot use console socket if"),
        ("/no/such/socket", True, True, "--console-socket /no/such/socket: No such file or directory"),
    ],
)
def test_sockets_and_terminals_have_to_agree(path: str, terminal: bool, detached: bool, words: str) -> None:
    with pytest.raises(Error, match=words):
        sockets.console(path, terminal=terminal, detached=detached)
    assert sockets.console("", terminal=True, detached=False) == -1
    assert sockets.console("", terminal=False, detached=True) == -1


def test_ps_lines_are_chosen_by_the_column() -> None:
    text = "UID   PID  PPID CMD\nroot    1     0 init 7\nroot    7     1 x\nroot   17     7 y\n"
    assert ps.chosen(text, [7]) == "UID   PID  PPID CMD\nroot    7     1 x\n"
    assert ps.chosen(text, []) == "UID   PID  PPID CMD\n"
    with pytest.raises(Error, match="PID field"):
        ps.chosen("USER CMD\nroot x\n", [7])


def test_tables_are_as_go_makes_them() -> None:
    assert show.table([["ID", "PID", "OWNER"], ["a-long-name", "1", "root"]]) == (
        "ID            PID         OWNER\na-long-name   1           root\n"
    )


def test_head_and_tail_are_the_document(tmp_path: Path) -> None:
    container = state.Container(str(tmp_path), "c")
    container.make()
    container.write(
        {"ociVersion": "1.0.2", "root": {"path": "r"}, "annotations": {"a": '"status"'}}, "/b", keyring=True
    )
    document = container.document()
    head, tail = ((tmp_path / "c" / name).read_text() for name in ("head", "tail"))
    assert f'{head}0,\n  "status": "creating"{tail}' == state.pretty(document)
    assert document["rootfs"] == "/b/r" and document["owner"] == "" and not (tmp_path / "c/hooks").exists()


@pytest.mark.parametrize("content", ["", "/sys/fs/cgroup", "relative\n"])
def test_a_cgroup_file_that_was_cut_off_names_nothing(tmp_path: Path, content: str) -> None:
    container = state.Container(str(tmp_path), "c")
    container.make()
    (tmp_path / "c/cgroup").write_text(content)
    assert container.cgroup() == ""
