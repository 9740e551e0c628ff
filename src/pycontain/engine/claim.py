"""Having a container for oneself: its lock, which the monitor inherits."""

from __future__ import annotations

import os

from pycontain.kernel import lock
from pycontain.kernel.errors import Error, InUse, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths


class Claim:
    """The lock of one container, held; the descriptor is handed to the helper or closed by release()."""

    __slots__ = ("container_id", "fd", "paths")

    def __init__(self, paths: Paths, container_id: str, fd: int) -> None:
        self.paths = paths
        self.container_id = container_id
        self.fd = fd

    def inherit(self) -> int:
        os.set_inheritable(self.fd, True)
        return self.fd

    def release(self) -> None:
        """Give the lock back; the run directory goes when nothing but the lock is in it."""
        directory = self.paths.run(self.container_id)
        try:
            if os.listdir(directory) == ["lock"]:
                os.unlink(f"{directory}/lock")
                os.rmdir(directory)
        except OSError:
            pass
        os.close(self.fd)


def _open(paths: Paths, container_id: str) -> int:
    directory = paths.run(container_id)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        # the first command after a boot, or somebody has emptied the directory of running containers
        os.makedirs(directory, 0o711, exist_ok=True)
        os.chmod(directory, 0o700)
    return lock.open_lock(f"{directory}/lock")


def claim(paths: Paths, container_id: str, seconds: float = 0.0) -> Claim | None:
    """Take a container's lock, waiting up to ``seconds``; None where somebody has it: it is alive. Raises Error."""
    while True:
        try:
            fd = _open(paths, container_id)
        except FileNotFoundError:
            continue  # its owner removed the directory between the two steps
        except OSError as error:
            raise Error(f"cannot lock container {container_id[:12]}: {os_text(error)}") from None
        if not (lock.wait_lock(fd, seconds) if seconds else lock.try_lock(fd)):
            os.close(fd)
            return None
        # the file that was locked must be the one that others will find
        if os.fstat(fd).st_nlink:
            return Claim(paths, container_id, fd)
        os.close(fd)


def claim_or_refuse(paths: Paths, container_id: str, what: str) -> Claim:
    """As claim; InUse where somebody has it."""
    taken = claim(paths, container_id, 2.0)
    if taken is None:
        raise InUse(f"container {container_id[:12]}: cannot {what} it: it is running or another command works on it")
    return taken
