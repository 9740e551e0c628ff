"""Imports point down, as docs/design.md ("Rooms") has it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "pycontain"

#: From the top; rooms of one line do not import each other.
LEVELS = (
    ("cli",),
    ("tenant",),
    ("engine", "oci", "planner"),
    ("image", "storage", "network", "cgroup", "launch"),
    ("kernel",),
)
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
MODULES = sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The directory below the package; "" for the package's own modules."""
    parts = path.relative_to(SOURCE).parts
    return parts[0] if len(parts) > 1 else ""


def rooms_imported(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, room) of every import of this package, also those inside functions and for the type checker."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            module = (node.module or "").split(".")
            # "from pycontain import engine" names the room behind the word import
            found += [(node.lineno, [*module, alias.name]) for alias in node.names]
    return [(line, parts[1]) for line, parts in found if parts[0] == "pycontain" and len(parts) > 1]


def violations(room: str, tree: ast.AST) -> list[str]:
    wrong = []
    for line, other in rooms_imported(tree):
        if other == room or other.startswith("__") or (SOURCE / f"{other}.py").exists():
            continue  # the package's own modules import no room
        if not room:
            wrong.append(f"line {line}: the package itself imports {other}")
        elif other not in LEVEL:
            wrong.append(f"line {line}: {other} is no room")
        elif LEVEL[other] <= LEVEL[room]:
            wrong.append(f"line {line}: {room} imports {other}")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    assert not room or room in LEVEL, f"{room} is no room of docs/design.md"
    assert violations(room, ast.parse(path.read_text(), str(path))) == []


def test_every_room_is_looked_at() -> None:
    assert {room_of(path) for path in MODULES} >= {"cli", "engine", "image", "storage", "network", "cgroup", "launch"}


@pytest.mark.parametrize(
    ("room", "text"),
    [
        ("kernel", "from pycontain.launch import ops"),
        ("launch", "import pycontain.engine.run"),
        ("image", "from pycontain.storage.layers import create"),
        ("launch", "def f():\n    from pycontain import cgroup"),
        ("engine", "if TYPE_CHECKING:\n    from pycontain.cli.args import Flag"),
        ("oci", "from pycontain.engine import names"),
        ("", "from pycontain.kernel import files"),
        ("engine", "from pycontain.nowhere import x"),
    ],
)
def test_what_points_up_is_found(room: str, text: str) -> None:
    """The rule itself."""
    assert len(violations(room, ast.parse(text))) == 1


def test_what_points_down_is_not() -> None:
    text = (
        "from pycontain.engine import run\nfrom pycontain.kernel.errors import Error\nfrom pycontain import __version__"
    )
    assert violations("cli", ast.parse(text)) == []


def test_the_page_has_every_file_of_the_helper() -> None:
    page = (SOURCE.parents[1] / "docs" / "design.md").read_text()
    rooms = page[page.index("src/helper/            C11") : page.index("src/pycontain/\n    kernel/")]
    assert {path.stem for path in (SOURCE.parent / "helper").glob("*.c")} <= set(rooms.split())
