"""Volumes by name: directories that outlive containers.

``volumes/NAME/data`` is what a container sees; ``volumes/NAME/used/CONTAINER`` is a hold. As with images, a removal
takes ``used`` away first by rmdir(2), which fails while there is a hold: so no lock is needed.
"""

from __future__ import annotations

import errno
import os

from pycontain.kernel.errors import Error, InUse, NotFound, os_text

#: How often a volume may be removed between our making and our holding it.
_TRIES = 20


def directory(root: str, name: str) -> str:
    """What a container that mounts the volume sees."""
    return f"{root}/volumes/{name}/data"


def hold_path(root: str, name: str, container_id: str) -> str:
    """The file whose removal ends a container's hold."""
    return f"{root}/volumes/{name}/used/{container_id}"


def hold(root: str, name: str, container_id: str) -> str:
    """Make a volume where it is missing and hold it for a container; its data directory. Raises Error."""
    base = f"{root}/volumes/{name}"
    umask = os.umask(0o022)
    try:
        for _ in range(_TRIES):
            _make(root, base)
            try:
                os.close(os.open(f"{base}/used/{container_id}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
                return f"{base}/data"
            except FileNotFoundError:
                continue
        raise Error(f"volume {name}: somebody removes it as often as it is made")
    except OSError as error:
        raise Error(f"cannot make the volume {base}: {os_text(error)}") from None
    finally:
        os.umask(umask)


def _make(root: str, base: str) -> None:
    for path, mode in ((f"{root}/volumes", 0o711), (base, 0o711), (f"{base}/data", 0o755), (f"{base}/used", 0o700)):
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            pass


def release(root: str, container_id: str) -> None:
    """End all holds of a container, for one whose record is lost."""
    for name in names(root):
        try:
            os.unlink(hold_path(root, name, container_id))
        except OSError:
            pass


def names(root: str) -> list[str]:
    """The volumes there are, by name."""
    try:
        return sorted(os.listdir(f"{root}/volumes"))
    except FileNotFoundError:
        return []


def holders(root: str, name: str) -> list[str]:
    """The IDs of the containers that hold a volume. Raises NotFound."""
    try:
        return sorted(os.listdir(f"{root}/volumes/{name}/used"))
    except FileNotFoundError:
        raise NotFound(f"no volume {name!r}: 'pycontain volume ls' lists those that exist") from None


def retire(root: str, name: str) -> str:
    """Take a volume out of use; the directory that is left to be removed. Raises InUse, NotFound, Error."""
    used = holders(root, name)
    try:
        os.rmdir(f"{root}/volumes/{name}/used")
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise Error(f"cannot remove the volume {name}: {os_text(error)}") from None
        ids = ", ".join(one[:12] for one in used or holders(root, name))
        raise InUse(f"volume {name} is in use by container {ids}: remove it first") from None
    return f"{root}/volumes/{name}"
