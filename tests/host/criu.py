"""CRIU for the tests: that of Debian 12 fails on kernels of today, so a newer release's is unpacked beside it, with the
libraries that it needs. Nothing of it is installed.
"""

from __future__ import annotations

import subprocess
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
exec "$here/{loader}" {preload}--library-path "$here/{libraries}" "$here/usr/sbin/criu" "$@"
"""


#: On a machine whose root may not ask for limits of processes with other user IDs.
_SHIM = Path(__file__).with_name("criu_limits.c")
_SYS_RESOURCE = 24


def _may_ask() -> bool:
    """Whether this process has CAP_SYS_RESOURCE."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) >> _SYS_RESOURCE & 1)


def directory() -> Path:
    """A directory for PATH that has criu in it; made at first, from the network. Raises NotReady."""
    preload = not _may_ask()
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
        _wrap(path, preload)

    shim = [_SHIM.read_text()] if preload else []
    return cache.kept("criu", cache.digest([*command, _WRAPPER, *shim]), make) / "bin"


def _wrap(path: Path, preload: bool) -> None:
    root = path / "root"
    loaders = sorted(root.glob("usr/lib/*/ld-linux*.so.*"))
    if not loaders:
        raise NotReady(f"CRIU cannot be used: there is no loader in Debian's {_RELEASE} for it")
    loader = loaders[0].relative_to(root)
    (path / "bin").mkdir()
    wrapper = path / "bin" / "criu"
    text = _WRAPPER.replace("{loader}", str(loader)).replace("{libraries}", str(loader.parent))
    if preload:
        library = path / "bin" / "limits.so"
        done = subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_SHIM)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise NotReady(f"CRIU cannot be used: {_SHIM.name} was not compiled: {done.stderr[-300:]}")
    wrapper.write_text(text.replace("{preload}", '--preload "$here/../bin/limits.so" ' if preload else ""))
    wrapper.chmod(0o755)
