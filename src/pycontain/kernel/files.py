"""Small files of ours: read whole, write whole or not at all."""

from __future__ import annotations

import os

from pycontain.kernel import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Nothing of ours that is read whole is larger; a larger file is somebody's mistake or attack.
LIMIT = 16 << 20


def read_bytes(path: str | bytes, *, dir_fd: int | None = None, limit: int = LIMIT, regular: bool = False) -> bytes:
    """The content of a file. Raises OSError; EFBIG where it is larger than ``limit`` bytes.

    regular: nothing else is read, and a FIFO is not waited for: for files that come from somebody else.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | (os.O_NONBLOCK if regular else 0)
    fd = os.open(path, flags, dir_fd=dir_fd)
    try:
        if regular and os.fstat(fd).st_mode & 0o170000 not in (0o100000, 0o040000):
            raise OSError("it is no regular file")
        chunks: list[bytes] = []
        total = 0
        while True:
            chunk = os.read(fd, 65536)
            if not chunk:
                return b"".join(chunks)
            total += len(chunk)
            if total > limit:
                raise OSError(27, "File too large", os.fsdecode(path))
            chunks.append(chunk)
    finally:
        os.close(fd)


def read_text(path: str, *, dir_fd: int | None = None) -> str:
    """The content of a UTF-8 file."""
    return read_bytes(path, dir_fd=dir_fd).decode("utf-8", "surrogateescape")


def write_all(fd: int, data: bytes) -> None:
    """All of ``data``, however many writes it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def create(path: str, data: bytes, mode: int = 0o644, *, sync: bool = False) -> None:
    """Write a file that nobody reads before it is complete, or replace one (not atomic; see replace)."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        write_all(fd, data)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def replace(path: str, data: bytes, mode: int = 0o644, *, sync: bool = False) -> None:
    """Write ``path`` so that a reader sees the old or the new content, never a part.

    ``sync``: the content is on the disk before the name is (where losing it would lose a user's data).
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        create(temporary, data, mode, sync=sync)
        os.rename(temporary, path)
    except BaseException:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise


def read_json(path: str, *, regular: bool = False) -> Any:
    """A JSON file. Raises OSError, or jsontext.JsonError naming the file. regular: as ``read_bytes``."""
    return jsontext.load_bytes(read_bytes(path, regular=regular), path)


def write_json(path: str, value: object, *, sync: bool = False) -> None:
    """A JSON file, replaced whole."""
    replace(path, jsontext.dumps(value).encode() + b"\n", sync=sync)
