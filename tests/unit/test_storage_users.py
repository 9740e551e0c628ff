"""Users and groups of -u: Docker's meaning, numbers read strictly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontain.kernel.errors import Error, UsageError
from pycontain.storage.users import MAX_ID, User, parse_id, resolve_user

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
# comment
broken
short:x:1
+nis::::::
empty-uid:x::5::/x:/bin/sh
bad-uid:x:-1:5::/x:/bin/sh
big-uid:x:4294967296:5::/x:/bin/sh
minus-one:x:4294967295:5::/x:/bin/sh
:x:0:0::/nameless:
www:x:33:33:w:/var/www:/bin/false
www:x:99:99:second:/second:
123:x:7:8:a name of digits:/digits:
no-home:x:40:41:::
rel-home:x:42:43::relative/home:
ctl-home:x:44:45::/a\tb:
"""
GROUP = b"""root:x:0:
broken:x
www:x:33:www,other
extra:x:50:other,www
prefix:x:51:www2,xwww
negative:x:-5:www
staff:x:60:
"""


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(0, 0, (), "/root", "root")),
        ("0", User(0, 0, (), "/root", "root")),
        ("root", User(0, 0, (), "/root", "root")),
        ("www", User(33, 33, (33, 50), "/var/www", "www")),
        ("33", User(33, 33, (33, 50), "/var/www", "www")),
        ("0033", User(33, 33, (33, 50), "/var/www", "www")),
        ("33:0", User(33, 0, (), "/var/www", "www")),
        ("www:staff", User(33, 60, (), "/var/www", "www")),
        ("www:61", User(33, 61, (), "/var/www", "www")),
        ("1234", User(1234, 0)),
        ("1234:5678", User(1234, 5678)),
        ("1234:staff", User(1234, 60)),
        ("123", User(123, 0)),
        (str(MAX_ID), User(MAX_ID, 0)),
        ("no-home", User(40, 41, (), "/", "no-home")),
        ("rel-home", User(42, 43, (), "/", "rel-home")),
        ("ctl-home", User(44, 45, (), "/", "ctl-home")),
    ],
)
def test_resolve(text: str, user: User) -> None:
    assert resolve_user(text, PASSWD, GROUP) == user


def test_without_files() -> None:
    assert resolve_user("", None, None) == User(0, 0)
    assert resolve_user("5:6", None, None) == User(5, 6)
    with pytest.raises(Error, match=r"no matching entries in passwd file .*numeric UID"):
        resolve_user("www", None, None)
    with pytest.raises(Error, match=r"no matching entries in group file .*numeric GID"):
        resolve_user("5:www", None, None)


@pytest.mark.parametrize(
    "text", ["nobody", "empty-uid", "bad-uid", "big-uid", "minus-one", "broken", "short", "nis", "www2", "１"]
)
def test_unknown_user(text: str) -> None:
    with pytest.raises(Error, match=f"unable to find user {text}: no matching entries in passwd file") as caught:
        resolve_user(text, PASSWD, GROUP)
    assert caught.value.status == 125


@pytest.mark.parametrize("text", ["0:nobody", "0:negative", "0:broken"])
def test_unknown_group(text: str) -> None:
    with pytest.raises(Error, match="unable to find group") as caught:
        resolve_user(text, PASSWD, GROUP)
    assert caught.value.status == 125


@pytest.mark.parametrize(
    "text",
    [
        "-1", "+1", " 1", "1 ", "1\n", "\t", "1:", ":1", ":", "1:2:3", "1:-1", "1:+1", "1: 1",
        "4294967295", "4294967296", "18446744073709551616", "9" * 5000, "1:4294967295", "1:" + "9" * 40, "a/b",
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_user(text, PASSWD, GROUP)
    assert "\n" not in caught.value.message


@given(st.text(max_size=30))
def test_nothing_but_zero_becomes_root(text: str) -> None:
    try:
        user = resolve_user(text, None, None)
    except Error:
        return
    uid, _, gid = text.partition(":")
    assert user.uid == int(uid or "0") and user.gid == int(gid or "0")
    assert uid.strip("0123456789") == "" and gid.strip("0123456789") == ""


@given(st.integers(min_value=-(2**70), max_value=2**70))
def test_parse_id(number: int) -> None:
    assert parse_id(str(number)) == (number if 0 <= number <= MAX_ID else None)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_hostile_files(passwd: bytes, group: bytes) -> None:
    user = resolve_user("", passwd, group)
    assert user.uid == 0 and all(0 <= gid <= MAX_ID for gid in user.groups)
    assert user.home.startswith("/") and all(char >= " " for char in user.home)
