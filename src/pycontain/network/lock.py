"""Locks below RUN_ROOT/network: ``next`` for the addresses, ``lock`` for bridge and table.

Who takes both takes ``lock`` first. flock(2) ends with its holder, however that ends.
"""

from __future__ import annotations

import fcntl
import os

from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


class Lock:
    """An exclusive lock on RUN_ROOT/network/NAME, from the making of the object to ``close``; a context manager."""

    def __init__(self, run_root: str, name: str = "lock") -> None:
        path = f"{run_root}/network/{name}"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            try:
                self.fd = os.open(path, flags, 0o644)
            except FileNotFoundError:
                os.makedirs(f"{run_root}/network", 0o755, exist_ok=True)
                self.fd = os.open(path, flags, 0o644)
            fcntl.flock(self.fd, fcntl.LOCK_EX)
        except OSError as error:
            raise Error(f"cannot lock {path}: {os_text(error)}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self.fd)
