"""lxcfs for the tests: Debian's, unpacked and not installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.host import cache, debian
from tests.host.cache import NotReady

from pycontain.image import apt
from pycontain.kernel.errors import Error

_PACKAGES = ("lxcfs", "libfuse3-3")


def directory() -> Path:
    """A directory with its program at usr/bin/lxcfs; made at first, from the network. Raises NotReady."""

    def make(path: Path) -> None:
        scratch = path / "scratch"
        scratch.mkdir()
        try:
            archives = apt.download(list(_PACKAGES), str(scratch), lambda line: None)
        except Error as error:
            raise NotReady(f"lxcfs cannot be downloaded: {error.message}") from None
        for archive in archives:
            subprocess.run(["dpkg-deb", "--extract", archive, str(path)], check=True)
        subprocess.run(["rm", "-rf", str(scratch)], check=True)

    return cache.kept("lxcfs", cache.digest([debian.release(), *_PACKAGES]), make)


def environment(path: Path) -> dict[str, str]:
    """What its program needs to find its libraries in such a directory."""
    found = sorted({str(library.parent) for library in path.rglob("*.so*")})
    return {"LD_LIBRARY_PATH": ":".join(found)}
