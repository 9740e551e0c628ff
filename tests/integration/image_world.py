"""What the image tests share: a mount namespace of their own, small recipes, builds in a process of their own."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2]
SHIPPED = [str(SOURCE / "images")]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="layers, mounts and namespaces need root")

_CLONE_NEWNS = 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_LIBC = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError."""
    if _LIBC.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def in_namespace(body: Callable[[], None]) -> None:
    """Run ``body`` in a child with a private mount namespace, which takes all mounts with it."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reader)
            if _LIBC.unshare(_CLONE_NEWNS) < 0:
                raise OSError(ctypes.get_errno(), "unshare")
            mount("none", "/", "", _MS_REC | _MS_PRIVATE)
            body()
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-60000:])
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        text = file.read().decode()
    _, status = os.waitpid(child, 0)
    assert status == 0, text


BUILD = """
import sys
sys.path.insert(0, sys.argv[1])
from pycontain.image import build, recipe
from pycontain.kernel.errors import Error
from pycontain.storage import layers
try:
    found = recipe.find(sys.argv[3], sys.argv[4:])
    image = build.build(sys.argv[2], found, lambda line: print(line, flush=True), layers)
except Error as error:
    print(f"pycontain: {error.message}", file=sys.stderr)
    sys.exit(error.status)
print("image", image.id)
"""


def build_command(root: Path, recipe: str) -> list[str]:
    """A process that builds ``recipe`` in ``root``, prints its progress, and ends as the command line would."""
    return [sys.executable, "-c", BUILD, str(SOURCE / "src"), str(root), recipe, *SHIPPED]


ONLINE = """
import socket, sys, urllib.parse
sys.path.insert(0, sys.argv[1])
from pycontain.image import apt
source = apt.sources_for(apt.host_sources(), apt.release(), "", ["main"])[0]
where = urllib.parse.urlsplit(source.uris[0])
socket.create_connection((where.hostname, where.port or (443 if where.scheme == "https" else 80)), 10).close()
"""


def is_online() -> bool:
    """Whether the host's apt sources can be reached; scripts/isolated has no network."""
    command = [sys.executable, "-c", ONLINE, str(SOURCE / "src")]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def build_process(root: Path, recipe: str, *before: str) -> subprocess.CompletedProcess[str]:
    """The same, to its end; ``before``: a command that executes it."""
    command = [*before, *build_command(root, recipe)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def write_recipe(folder: Path, text: str, name: str = "test") -> str:
    """A recipe file; gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.toml"
    path.write_text(f'name = "{name}"\n{text}')
    return str(path)


def left_in(root: Path) -> list[str]:
    """All that there is in a store but its own directories."""
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if str(path.relative_to(root)) not in ("images", "layers", "refs")
    )
