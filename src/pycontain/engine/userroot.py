"""The root of a container in a user namespace: the kernel's overlay, or where that is refused fuse-overlayfs.

Which one was found out once a kernel and file system: cache/userns-overlay has it.
"""

from __future__ import annotations

import os

from pycontain.kernel import files
from pycontain.kernel.errors import Error
from pycontain.launch.ops_mounts import RootBind, RootOverlay
from pycontain.launch.ops_rootless import RootFuse
from pycontain.launch.start import run_helper
from pycontain.network.usermode import locate
from pycontain.storage import overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record
    from pycontain.launch.ops import Op

_KERNEL, _FUSE = "kernel", "fuse"
PROGRAM = "fuse-overlayfs"


def records(paths: Paths, record: Record, options: list[str]) -> tuple[list[Op], Op]:
    """What the host side does before the guest is made, and the record of the root."""
    base = f"containers/{record.id}"
    lower = overlay.lower(record.layers)
    if choice(paths) == _KERNEL or not locate(PROGRAM):
        words = ",".join([*options, "userxattr"])
        return [], RootOverlay(paths.root, f"{base}/root", lower, f"{base}/upper", f"{base}/work", words)
    target = f"{paths.root}/{base}/root"
    layers = lower.replace("layers/", f"{paths.root}/layers/")
    # without writeback nothing of the container's is lost when the program is killed
    words = f"lowerdir={layers},upperdir={paths.root}/{base}/upper,workdir={paths.root}/{base}/work,writeback=0"
    return [RootFuse([locate(PROGRAM), "-f", "-o", words, target], target)], RootBind(target)


def choice(paths: Paths) -> str:
    """``kernel`` or ``fuse``."""
    file = f"{paths.cache}/userns-overlay"
    stamp = f"{os.uname().release} {os.stat(paths.root).st_dev}"
    try:
        known, _, kind = files.read_text(file).strip().rpartition(" ")
        if known == stamp and kind in (_KERNEL, _FUSE):
            return kind
    except OSError:
        pass
    kind = _KERNEL if _works(paths.root) else _FUSE
    try:
        files.replace(file, f"{stamp} {kind}\n".encode(), 0o600)
    except OSError:
        pass  # it is found out again next time
    return kind


def _works(directory: str) -> bool:
    try:
        run_helper(["try-overlay", directory])
        return True
    except Error:
        return False
