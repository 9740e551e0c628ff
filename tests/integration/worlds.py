"""Worlds besides the session's: with directories of their own, on disks of their own, broken on purpose."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from world import World, eventually, reap


def copy_image(source: Path, root: Path, name: str = "busybox") -> None:
    """Put an image of one store into another one that does not have it; a build takes seconds."""
    reference = next((source / "refs").glob(f"{name}%3A*"))
    image = os.readlink(reference).rpartition("/")[2]
    record = json.loads((source / "images" / image / "image.json").read_text())
    for directory in ("refs", "images", "layers"):
        (root / directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    layers = [f"layers/{layer}{suffix}" for layer in record["layers"] for suffix in ("", ".json")]
    for path in (*layers, f"images/{image}"):
        subprocess.run(["cp", "-a", source / path, root / path], check=True)
    for hold in (root / "images" / image / "used").iterdir():
        hold.unlink()
    (root / "refs" / reference.name).symlink_to(f"../images/{image}")


@contextmanager
def fresh(images: World, root: Path, run_root: Path) -> Iterator[World]:
    """A world with the image busybox; at the end its containers are removed, and nothing may be left of them."""
    made = World(root, run_root)
    copy_image(images.root, root)
    try:
        yield made
    finally:
        made.remove_all()
    settled(made)


def settled(world: World) -> None:
    """Nothing is left; monitors whose parent has ended are children of the test, and gone when it has asked."""

    def clean() -> bool:
        reap()
        return not world.leftovers()

    assert eventually(clean), world.leftovers()


@contextmanager
def disk(point: Path, size: str) -> Iterator[Path]:
    """A small file system of its own, a tmpfs."""
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "small", point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", point], check=True)
