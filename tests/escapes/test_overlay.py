"""Extended attributes that overlayfs has for its own (user.overlay.*, trusted.overlay.*), set by a guest.

They say where a directory or a file's content lies in the layers below, what hides them, what is a whiteout. Whoever
reads a root with them set (the kernel's overlay, cp, the accounts for exec -u, the next start) is led nowhere else.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from world import World

#: In the place of ROOT a directory of the host is given.
ATTRIBUTES = {
    "opaque": "y",
    "redirect": "ROOT",
    "metacopy": "",
    "origin": "",
    "impure": "y",
    "whiteout": "y",
    "nlink": "L+5",
    "protattr": "i",
}
PLACES = ("/etc", "/etc/passwd", "/own", "/own/file")
#: What the container's root sees of itself, before and after.
LOOK = "cat /own/file; ls -A /own; test -s /etc/passwd && ls -A /etc | wc -l"
ATTACK = """
import errno, os, sys
for place in PLACES:
    for prefix in ("user", "trusted"):
        for name, value in ATTRIBUTES.items():
            try:
                os.setxattr(place, f"{prefix}.overlay.{name}", value.replace("ROOT", sys.argv[1]).encode())
                print("set", prefix)
            except OSError as error:
                print(errno.errorcode[error.errno], prefix)
"""


@pytest.fixture
def guest(world: World) -> Iterator[tuple[str, str]]:
    yield from attacked(world)


def attacked(world: World, *flags: str) -> Iterator[tuple[str, str]]:
    """A container with a file of its own, and what LOOK says there."""
    identity = world.background("--network", "none", *flags, "sparse", "sleep", "1000")
    world.ok("exec", identity, "sh", "-c", "mkdir /own; echo own >/own/file; touch /etc/new")
    yield identity, world.ok("exec", identity, "sh", "-c", LOOK)


def stands(world: World, identity: str, seen: str, out: Path) -> None:
    """Every reader of the root finds what the guest has there, while it runs, stopped, and after another start."""
    for number in range(3):
        if number == 1:
            world.ok("stop", "-t", "0", identity)
        else:
            assert world.ok("exec", identity, "sh", "-c", LOOK) == seen
            assert world.ok("exec", "-u", "nobody", identity, "id", "-u") == "65534"
        for place in ("own", "etc"):
            world.ok("cp", f"{identity}:/{place}", str(out / f"{place}{number}"))
        assert (out / f"own{number}" / "file").read_text() == "own\n"
        assert sorted(os.listdir(out / f"own{number}")) == ["file"]
        assert {"passwd", "new"} <= set(os.listdir(out / f"etc{number}"))
        if number == 1:
            world.ok("start", identity)


@pytest.mark.parametrize("flags", [(), ("--userns", "host", "--cap-add", "SYS_ADMIN")], ids=["default", "trusted"])
def test_attributes_of_a_guests_lead_nowhere(
    world: World, canary: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """Set by root of the container, with the capability that trusted.* needs in the second case."""
    ((identity, seen),) = attacked(world, *flags)
    script = f"PLACES, ATTRIBUTES = {PLACES!r}, {ATTRIBUTES!r}\n{ATTACK}"
    answers = world.ok("exec", identity, "/usr/bin/python3", "-I", "-S", "-c", script, str(canary)).splitlines()
    assert len(answers) == 2 * len(PLACES) * len(ATTRIBUTES) and "set user" in answers
    assert flags or "set trusted" not in answers
    stands(world, identity, seen, tmp_path)


def test_attributes_that_are_there_already_lead_nowhere(
    world: World, canary: Path, tmp_path: Path, guest: tuple[str, str]
) -> None:
    """In the upper directory itself, past the overlay that may refuse them or write them under another name."""
    identity, seen = guest
    world.ok("stop", "-t", "0", identity)
    upper = world.root / "containers" / identity / "upper"
    for place in ("etc", "etc/new", "own", "own/file"):
        for name, value in ATTRIBUTES.items():
            os.setxattr(upper / place, f"user.overlay.{name}", value.replace("ROOT", str(canary)).encode())
    world.ok("start", identity)
    stands(world, identity, seen, tmp_path)


def test_an_archive_brings_none(world: World, canary: Path, guest: tuple[str, str]) -> None:
    """cp into the container, as root of the host: its archive may say anything."""
    identity, _ = guest
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("brought", "brought/file"):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE if name == "brought" else tarfile.REGTYPE
            entry.mode = 0o755
            names = [f"{prefix}.overlay.{key}" for prefix in ("user", "trusted") for key in ATTRIBUTES]
            entry.pax_headers = {f"SCHILY.xattr.{key}": str(canary) for key in [*names, "security.capability"]}
            archive.addfile(entry)
    world.ok("cp", "-", f"{identity}:/own", input=data.getvalue())
    upper = world.root / "containers" / identity / "upper" / "own" / "brought"
    for place in (upper, upper / "file"):
        found = os.listxattr(place)
        assert not [name for name in found if name.endswith((".redirect", ".metacopy", "capability"))], found
        assert not [name for name in found if name.startswith("user.")], found
