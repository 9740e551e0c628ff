"""What this process has from who started it, and what does not go further."""

from __future__ import annotations

import os

from pycontain.kernel import rootless


def settle() -> None:
    """Before anything is opened or made: the caller's umask is not ours, and its descriptors are for this process.

    Files of the state are read by users in containers. A monitor lives for months; a lock or a pipe's end of the
    caller's would live as long in it.
    """
    os.umask(0o022)
    kept = rootless.lock()
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd != kept:
            try:
                os.set_inheritable(fd, False)
            except OSError:
                pass  # the one that listed the others
