"""A store of pycontain's images for test hosts, built once on this machine, so that no host needs a network."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from tests.host import cache
from tests.host.cache import NotReady

CHECKOUT = Path(__file__).resolve().parents[2]
PYCONTAIN = CHECKOUT / ".venv" / "bin" / "pycontain"
IMAGES = ("busybox",)
TEMPLATES = ("busybox-vps", "debian-vps")
_TIMEOUT = 300


def store() -> Path:
    """A directory for pycontain's --root, with the images. Raises NotReady."""
    if not PYCONTAIN.exists():
        raise NotReady(f"{PYCONTAIN} is missing: make build")
    sources = [CHECKOUT / "images" / image / "recipe.toml" for image in IMAGES]
    for room in ("image", "storage"):
        sources += sorted((CHECKOUT / "src" / "pycontain" / room).glob("*.py"))
    return cache.kept("images", cache.digest(path.read_bytes() for path in sources), _build)


def templates() -> Path:
    """The same with the templates of tenants. A Debian takes twenty seconds to install: it is made anew for another
    recipe or store, not for every change of what builds it. Raises NotReady.
    """
    if not PYCONTAIN.exists():
        raise NotReady(f"{PYCONTAIN} is missing: make build")
    sources = [CHECKOUT / "images" / image / "recipe.toml" for image in ("busybox", *TEMPLATES)]
    sources += [CHECKOUT / "src" / "pycontain" / name for name in ("image/store.py", "storage/layers.py")]
    return cache.kept(
        "templates", cache.digest(path.read_bytes() for path in sources), lambda path: _build(path, TEMPLATES)
    )


def _build(path: Path, names: tuple[str, ...] = IMAGES) -> None:
    with tempfile.TemporaryDirectory(prefix="pycontain-images-") as run_root:
        for image in names:
            command = [str(PYCONTAIN), "--root", str(path), "--run-root", run_root, "image", "build", "-q", image]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT)
            if done.returncode:
                raise NotReady(f"the image {image} for test hosts cannot be built: {done.stderr.strip()}")
