"""What the running kernel can do, asked in ways that change nothing. Not for the start road: it goes through ctypes.

A system call is probed with arguments that it refuses: ENOSYS says that it is not there, anything else that it is.
"""

from __future__ import annotations

import ctypes
import errno
import os
from _struct import pack

from pycontain.kernel import ebpf, files

_BAD = -1
_NONSENSE = (1 << 64) - 1

#: name → arguments that cannot be: bad descriptors and null pointers, with flags and sizes that no kernel knows.
_CALLS: dict[str, tuple[int, ...]] = {
    "bpf": (_NONSENSE, 0, 0),
    "clone3": (0, 0),
    "close_range": (_NONSENSE, 0, 0),
    "fsconfig": (_BAD, _NONSENSE, 0, 0, 0),
    "fsmount": (_BAD, _NONSENSE, 0),
    "fsopen": (0, _NONSENSE),
    "keyctl": (_NONSENSE, 0, 0, 0, 0),
    "landlock_create_ruleset": (0, 0, _NONSENSE),
    "memfd_create": (0, _NONSENSE),
    "mount_setattr": (_BAD, 0, _NONSENSE, 0, 0),
    "move_mount": (_BAD, 0, _BAD, 0, _NONSENSE),
    "open_tree": (_BAD, 0, _NONSENSE),
    "openat2": (_BAD, 0, 0, 0),
    "pidfd_getfd": (_BAD, _BAD, _NONSENSE),
    "pidfd_open": (_BAD, _NONSENSE),
    "pidfd_send_signal": (_BAD, 0, 0, _NONSENSE),
    "seccomp": (_NONSENSE, 0, 0),
}

# linux/bpf.h
_BPF_PROG_LOAD = 5
_BPF_PROG_TYPE_CGROUP_DEVICE = 15
_LANDLOCK_VERSION = 1


def numbers() -> dict[str, int]:
    """System calls of this machine by name; {} for a machine without a table."""
    machine = os.uname().machine
    if machine == "x86_64":
        from pycontain.kernel.syscalls_x86_64 import NUMBERS
    elif machine == "aarch64":
        from pycontain.kernel.syscalls_aarch64 import NUMBERS
    else:
        return {}
    return NUMBERS


def _call(number: int, *arguments: int) -> tuple[int, int]:
    """Result and errno of a system call."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(value & _NONSENSE) for value in arguments])
    return int(result), ctypes.get_errno()


def has_call(name: str) -> bool | None:
    """Whether the kernel has a system call, None where that cannot be told: no number is known on this machine."""
    number = numbers().get(name)
    if number is None:
        return None
    result, code = _call(number, *_CALLS[name])
    return result >= 0 or code != errno.ENOSYS


def landlock_abi() -> int:
    """The version of Landlock, 0 where it is not built in or switched off (landlock(7))."""
    number = numbers().get("landlock_create_ruleset")
    if number is None:
        return 0
    result, _ = _call(number, 0, 0, _LANDLOCK_VERSION)
    return max(0, result)


def device_filter() -> int:
    """0 where a cgroup device program (bpf(2)) can be loaded, else the errno. The program is let go at once."""
    number = numbers().get("bpf")
    if number is None:
        return errno.ENOSYS
    program = ctypes.create_string_buffer(ebpf.move(ebpf.R0, 1) + ebpf.leave())
    license = ctypes.create_string_buffer(b"GPL")
    attributes = ctypes.create_string_buffer(
        pack(
            "=IIQQIIQII",
            _BPF_PROG_TYPE_CGROUP_DEVICE,
            2,
            ctypes.addressof(program),
            ctypes.addressof(license),
            0,
            0,
            0,
            0,
            0,
        ),
        48,
    )
    result, code = _call(number, _BPF_PROG_LOAD, ctypes.addressof(attributes), 48)
    if result < 0:
        return code
    os.close(result)
    return 0


def overlay_attributes(directory: str, space: str = "trusted") -> int:
    """0 where files of a directory's file system can have overlayfs's extended attributes (xattr(7)), else the errno.

    space: trusted, or in a user namespace user.

    EOPNOTSUPP, too, where it has no O_TMPFILE: the file that is asked never gets a name.
    """
    try:
        fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return error.errno or errno.EIO
    try:
        os.setxattr(fd, f"{space}.overlay.opaque", b"y")
        return 0
    except OSError as error:
        return error.errno or errno.EIO
    finally:
        os.close(fd)


def sysctl(name: str) -> str:
    """A sysctl by its path below /proc/sys, "" where there is none or it may not be read."""
    try:
        return files.read_text(f"/proc/sys/{name}").strip()
    except OSError:
        return ""


def status(name: str) -> str:
    """A line of /proc/self/status, "" where the kernel has none of that name (proc_pid_status(5))."""
    for line in files.read_text("/proc/self/status").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""
