from __future__ import annotations

import pytest

from pycontain.cgroup import path
from pycontain.kernel.errors import SpecError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("a//b/", "/a/b"),
        ("/./a/./b", "/a/b"),
        ("/user.slice/user-1000.slice", "/user.slice/user-1000.slice"),
        ("/a b/ü:c", "/a b/ü:c"),
        ("/..a/b..", "/..a/b.."),
    ],
)
def test_check_gives_the_normal_form(text: str, expected: str) -> None:
    assert path.check(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "/..",
        "/a/../b",
        "a/..",
        "/a\nb",
        "/a\0",
        "/a\x1b[0m",
        "/a\x7f",
        "/" + "x" * 256,
        "/ab" * 1300,
        3,
        None,
    ],
)
def test_check_refuses(text: object) -> None:
    with pytest.raises(SpecError) as caught:
        path.check(text, "--cgroup-parent")
    assert caught.value.message.startswith("--cgroup-parent: ")
    assert "\n" not in caught.value.message
    assert caught.value.message.isprintable()


def test_resolve_puts_a_relative_path_below_the_base() -> None:
    assert path.resolve("web", "/pycontain") == "/pycontain/web"
    assert path.resolve("/web", "/pycontain") == "/web"
    assert path.resolve("a/b", "/") == "/a/b"


@pytest.mark.parametrize("text", ["/", "//", "/.", "../x", "/pycontain/.."])
def test_resolve_refuses_the_root_and_what_leaves_the_base(text: str) -> None:
    with pytest.raises(SpecError):
        path.resolve(text, "/pycontain")


def test_parents() -> None:
    assert path.parents("/") == []
    assert path.parents("/a") == ["/"]
    assert path.parents("/a/b/c") == ["/", "/a", "/a/b"]
