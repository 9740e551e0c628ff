"""CRIU for the tests: that of Debian 12 fails on kernels of today, so a newer release's is unpacked beside it, with the
libraries that it needs. Nothing of it is installed.
"""

from __future__ import annotations

from pathlib import Path

from tests.host import bootstrap, cache
from tests.host.cache import NotReady

#: Its CRIU is 4.2: 4.1 fails on TCP sockets of Linux 6.16 and later (SO_PASSCRED).
_RELEASE = "forky"
#: Found by its own place: the directory is renamed when it is complete.
_WRAPPER = """\
#!/bin/sh
# CRIU with the C library and the loader that it was built for
here=$(dirname "$(readlink -f "$0")")/../root
exec "$here/{loader}" --library-path "$here/{libraries}" "$here/usr/sbin/criu" "$@"
"""


def directory() -> Path:
    """A directory for PATH that has criu in it; made at first, from the network. Raises NotReady."""
    command = [
        *("mmdebstrap", "--mode=root", "--variant=extract", "--format=directory"),
        # a mirror may be behind its time, and the snapshot of one is for ever
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=APT::Install-Recommends "false"',
        *("--dpkgopt=path-exclude=/usr/share/*", "--include=criu"),
        _RELEASE,
    ]

    def make(path: Path) -> None:
        bootstrap.unpack("CRIU for the tests", command, path / "root")
        _wrap(path)

    return cache.kept("criu", cache.digest([*command, _WRAPPER]), make) / "bin"


def _wrap(path: Path) -> None:
    root = path / "root"
    loaders = sorted(root.glob("usr/lib/*/ld-linux*.so.*"))
    if not loaders:
        raise NotReady(f"CRIU cannot be used: there is no loader in Debian's {_RELEASE} for it")
    loader = loaders[0].relative_to(root)
    (path / "bin").mkdir()
    wrapper = path / "bin" / "criu"
    wrapper.write_text(_WRAPPER.replace("{loader}", str(loader)).replace("{libraries}", str(loader.parent)))
    wrapper.chmod(0o755)
