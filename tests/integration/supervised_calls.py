"""Scripts that make supervised calls in a container, for the tests of several directories."""

from __future__ import annotations

from world import World

AUTO = ("--userns", "auto")
ALL = ("--supervise", "mknod,sysinfo,mount", *AUTO)

#: C functions with the names of their errors, for scripts that run in a container.
CALLS = """
import ctypes, errno, os, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def call(function, *arguments):
    if function(*arguments) >= 0:
        return "done"
    return errno.errorcode[ctypes.get_errno()]
def mount(source, target, kind, flags=0, data=None):
    encode = lambda text: text.encode() if text is not None else None
    return call(libc.mount, encode(source), encode(target), encode(kind), ctypes.c_ulong(flags), encode(data))
def umount(target, flags=0):
    return call(libc.umount2, target.encode(), flags)
def mknod(path, mode, major, minor):
    try:
        os.mknod(path, mode, os.makedev(major, minor))
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]
CHAR, BLOCK = 0o020666, 0o060666
"""


def python(world: World, script: str, *flags: str, timeout: float = 60) -> list[str]:
    """What a script with CALLS prints in a container with these flags, by line."""
    command = ("sparse", "/usr/bin/python3", "-I", "-S", "-c", CALLS + script)
    return world.ok("run", "--rm", "--network", "none", *flags, *command, timeout=timeout).splitlines()
