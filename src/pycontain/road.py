"""The package's modules from one file: a start imports some seventy, and finding each costs more than its code.

Imported before anything else by the entry points (src/helper/find.c). ``road.bin`` beside this file is made at build
time (scripts/gen_road.py); where it is not there, or of another interpreter, modules are found as usual.
"""

from __future__ import annotations

import _imp
import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_BASE = __file__.rpartition("/")[0].rpartition("/")[0]
#: What importlib has for a module's place; its own module must not be imported for it.
_Spec: Any = type(__spec__)


class _Road:
    """The open file. index: name → (is a package, offset, size)."""

    fd = -1
    start = 0
    index: dict[str, tuple[bool, int, int]] = {}


class Loader:
    """PEP 451."""

    @staticmethod
    def create_module(spec: Any) -> None:
        """The usual module object."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        _, offset, size = _Road.index[module.__name__]
        code = marshal.loads(posix.pread(_Road.fd, size, _Road.start + offset))
        # as importlib does, for tracebacks
        _imp._fix_co_filename(code, module.__file__)  # type: ignore[attr-defined]
        exec(code, module.__dict__)


class Finder:
    """On sys.meta_path, before the file system's."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> Any:
        entry = _Road.index.get(name)
        if entry is None:
            return None
        place = f"{_BASE}/{name.replace('.', '/')}"
        origin = f"{place}/__init__.py" if entry[0] else f"{place}.py"
        spec = _Spec(name, Loader, origin=origin, is_package=entry[0])
        spec.has_location = True
        if entry[0]:
            spec.submodule_search_locations.append(place)
        return spec


def take() -> bool:
    """Whether the file is there and fits this interpreter; then it is used from here on."""
    try:
        fd = posix.open(f"{_BASE}/pycontain/road.bin", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return False
    head = posix.read(fd, 20)
    # of another interpreter, or cut off by a disk that was full
    if head[:4] != _imp_magic() or posix.fstat(fd).st_size != int.from_bytes(head[4:12], "little"):
        posix.close(fd)
        return False
    size = int.from_bytes(head[12:], "little")
    _Road.fd, _Road.start = fd, 20 + size
    _Road.index = marshal.loads(posix.read(fd, size))
    sys.meta_path.insert(0, Finder)
    return True


def move(lowest: int) -> int:
    """Have the file open under the lowest number that is free from this one on; -1 where it is not used."""
    import fcntl

    if _Road.fd >= 0:
        old, _Road.fd = _Road.fd, fcntl.fcntl(_Road.fd, fcntl.F_DUPFD_CLOEXEC, lowest)
        posix.close(old)
    return _Road.fd


def _imp_magic() -> bytes:
    """importlib.util.MAGIC_NUMBER, of the frozen module that has it."""
    magic: bytes = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
    return magic


take()
