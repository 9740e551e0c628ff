"""What test hosts are made of is made once and kept: a directory for each kind and recipe, outside the checkout.

``$PYCONTAIN_TESTS_CACHE``, else ``$XDG_CACHE_HOME/pycontain-tests``, else ``~/.cache/pycontain-tests``.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

#: Seconds after its last use that what another recipe has made is kept: two checkouts may differ.
_KEPT = 24 * 3600

#: Descriptors of the directories that this process uses: their locks keep others from removing them.
_used: dict[Path, int] = {}


class NotReady(Exception):
    """Something that a test host is made of could not be made; the text says what, and why."""


def directory() -> Path:
    """Where everything is kept; made if missing. No colon or comma in it: it goes into mount options.

    Raises NotReady.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(os.environ.get("PYCONTAIN_TESTS_CACHE") or Path(base) / "pycontain-tests").resolve()
    if any(character in str(path) for character in ",: \\"):
        raise NotReady(
            f"the cache {path} has a comma, colon, space or backslash in its name: set PYCONTAIN_TESTS_CACHE"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotReady(f"the cache {path} cannot be made ({error.strerror}): set PYCONTAIN_TESTS_CACHE") from error
    return path


def digest(parts: Iterable[str | bytes]) -> str:
    """A key of a recipe."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(b"%d:" % len(data) + data)
    return total.hexdigest()[:16]


def kept(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The directory of this kind and key, made by ``make`` in an empty directory if there is none.

    One process makes it, others wait. It stays at least as long as this process lives. What ``make`` raises passes.
    """
    base = directory()
    path = base / f"{kind}-{key}"
    if path in _used:
        return path
    with open(base / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _sweep(base, kind, path)
        if not path.exists():
            partial = base / f"{kind}-{key}.partial"
            partial.mkdir()
            try:
                make(partial)
            except BaseException:
                _remove(partial)
                raise
            partial.rename(path)
        os.utime(path)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        _used[path] = descriptor
    return path


def _sweep(base: Path, kind: str, wanted: Path) -> None:
    """Remove what a killed maker has left, and what nobody uses or has used for a day. Only with the lock."""
    for path in base.glob(f"{kind}-*"):
        if path.suffix == ".partial":
            _remove(path)
        elif path != wanted and path.stat().st_mtime < time.time() - _KEPT and not _in_use(path):
            # not half there for anybody, should the removal be interrupted
            _remove(path.rename(path.with_suffix(".partial")))


def _in_use(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove(path: Path) -> None:
    if not shutil.rmtree.avoids_symlink_attacks:
        raise NotReady(f"{path} cannot be removed safely on this system: remove it by hand")
    # never into a mount
    subprocess.run(["rm", "-rf", "--one-file-system", "--", path], check=True)
