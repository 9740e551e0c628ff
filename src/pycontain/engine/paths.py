"""Where things are: see docs/design.md, "State"."""

from __future__ import annotations

import os

from pycontain.kernel import files
from pycontain.kernel.errors import Error, os_text

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Paths:
    """The two directories that pycontain keeps, and what is in them."""

    __slots__ = ("root", "run_root")

    def __init__(self, root: str, run_root: str) -> None:
        self.root = root
        self.run_root = run_root

    @property
    def cache(self) -> str:
        return f"{self.root}/cache"

    def container(self, container_id: str) -> str:
        return f"{self.root}/containers/{container_id}"

    def run(self, container_id: str) -> str:
        return f"{self.run_root}/containers/{container_id}"

    def pending(self, container_id: str) -> str:
        return f"{self.run_root}/pending/{container_id}"

    def name(self, name: str) -> str:
        return f"{self.root}/names/{name}"

    def prepare(self) -> None:
        """Make what is missing, and forget the run state of an earlier boot. Raises Error."""
        try:
            boot = files.read_bytes(_BOOT_ID)
            try:
                if files.read_bytes(f"{self.run_root}/boot_id") == boot and self._complete():
                    return
            except FileNotFoundError:
                pass
            self._begin(boot)
        except PermissionError as error:
            raise Error(f"{error.filename}: {os_text(error)}: pycontain needs to be root") from None
        except OSError as error:
            raise Error(f"cannot prepare {error.filename or self.run_root}: {os_text(error)}{_hint(error)}") from None

    def _directories(self) -> tuple[tuple[str, int], ...]:
        return (
            (f"{self.root}/containers", 0o711),
            (f"{self.root}/names", 0o700),
            (f"{self.root}/cache", 0o700),
            (f"{self.run_root}/containers", 0o711),
            (f"{self.run_root}/pending", 0o700),
        )

    def _complete(self) -> bool:
        """Whether nobody has taken a directory away since: what cleans up below /run, or a new --root."""
        try:
            for directory, _ in self._directories():
                os.stat(directory + "/")
        except FileNotFoundError:
            return False
        return True

    def _begin(self, boot: bytes) -> None:
        """The first command since the host has booted, or since somebody has cleaned up."""
        import fcntl

        umask = os.umask(0o022)
        try:
            os.makedirs(self.run_root, 0o711, exist_ok=True)
            lock = os.open(self.run_root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._make(boot)
            finally:
                os.close(lock)
        finally:
            os.umask(umask)

    def _make(self, boot: bytes) -> None:
        path = f"{self.run_root}/boot_id"
        if os.path.exists(path) and files.read_bytes(path) != boot:
            self._forget()
        os.makedirs(self.root, 0o711, exist_ok=True)
        for directory, mode in self._directories():
            try:
                os.mkdir(directory, mode)
            except FileExistsError:
                pass
        files.replace(path, boot)

    def _forget(self) -> None:
        """What it says of processes, addresses and devices was true before the host went down."""
        import shutil

        for name in ("containers", "pending", "network"):
            shutil.rmtree(f"{self.run_root}/{name}", ignore_errors=True)


def _hint(error: OSError) -> str:
    import errno

    return {
        errno.ENOSPC: ": the file system is full: free space there, or give --root and --run-root elsewhere",
        errno.EROFS: ": give --root and --run-root on a file system that is mounted for writing",
        errno.ENOTDIR: ": something on the way is not a directory",
    }.get(error.errno or 0, "")
