"""The disk that the store lies on, for limits of I/O."""

from __future__ import annotations

import os

from pycontain.kernel import files


def find(path: str) -> str:
    """The device file of the whole disk below ``path``, "" where there is none: a tmpfs, a network file system."""
    number = os.stat(path).st_dev
    directory = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"
    try:
        directory = os.path.realpath(directory, strict=True)
        if os.path.exists(f"{directory}/partition"):
            directory = os.path.dirname(directory)  # the kernel limits disks, not their partitions
        major, minor = files.read_text(f"{directory}/dev").strip().split(":")
    except (OSError, ValueError):
        return ""
    device = f"/dev/{os.path.basename(directory).replace('!', '/')}"
    try:
        if os.stat(device).st_rdev == os.makedev(int(major), int(minor)):
            return device
    except (OSError, ValueError):
        pass
    return ""
