"""Root in a user namespace: what this process may not do, and whose containers it has (src/helper/rootless.c).

An ordinary user's command is in the user's own namespace before the interpreter starts; there it is root. OCI clients
without root (podman) start the runtime in a namespace of theirs.
"""

from __future__ import annotations

import os

from pycontain.kernel import files

#: Set by the helper: "UID FD", or "-STEP ERRNO" where there is no namespace; and the user's run directory.
VARIABLE, DIRECTORY = "_PYCONTAIN_ROOTLESS", "_PYCONTAIN_ROOTLESS_RUN"
#: include/linux/proc_ns.h: PROC_USER_INIT_INO
_INITIAL = 0xEFFFFFFD


def inside() -> bool:
    """Whether this process is in a user namespace: then it makes no devices and loads no eBPF programs."""
    try:
        return os.stat("/proc/self/ns/user").st_ino != _INITIAL
    except OSError:
        return False  # a kernel without them


def surroundings() -> tuple[bool, bool]:
    """Whether this process is in a user namespace, and whether setgroups(2) is denied there."""
    nested = inside()
    return nested, nested and not may_set_groups()


def _words() -> list[str]:
    return os.environ.get(VARIABLE, "").split()


def user() -> int:
    """The ID of the ordinary user whose command this is, -1 where it is root's."""
    words = _words()
    if not words:
        return -1
    return os.getuid() if words[0].startswith("-") else int(words[0])


def owner() -> int:
    """Who this process is to the systemd and the bus of an ordinary user: its ID outside the user namespace.

    Raises OSError.
    """
    if user() >= 0:
        return user()
    if os.geteuid() == 0 and inside():
        for first, outside, size in mapped():
            if first == 0 and size:
                return outside
    return os.geteuid()


def lock() -> int:
    """The descriptor of the lock that keeps the namespace, -1 for none: who works in it hands it on."""
    words = _words()
    return int(words[1]) if words and not words[0].startswith("-") else -1


def environment() -> dict[str, str]:
    """What the helper is told of it."""
    return {name: os.environ[name] for name in (VARIABLE, DIRECTORY) if name in os.environ}


def problem() -> str:
    """Why this user's command has no namespace, with what to do; "" where it has one, or is root's."""
    words = _words()
    if not words or not words[0].startswith("-"):
        return ""
    from pycontain.kernel.rootless_hints import sentence

    return sentence(words[0][1:], int(words[1]))


def home() -> str:
    """Where the user's containers and images are kept (XDG Base Directory Specification)."""
    return _xdg("XDG_DATA_HOME", ".local/share")


def configuration() -> str:
    """The user's configuration file."""
    return f"{_xdg('XDG_CONFIG_HOME', '.config')}/pycontain.toml"


def _xdg(variable: str, usual: str) -> str:
    base = os.environ.get(variable, "")
    if not base.startswith("/"):
        base = f"{os.environ.get('HOME') or _home()}/{usual}"
    return f"{base}/pycontain"


def _home() -> str:
    import pwd

    try:
        return pwd.getpwuid(user()).pw_dir
    except KeyError:
        # not a name in /tmp that somebody else could have taken: the helper has seen that this one is the user's alone
        return f"{run_directory()}/home"


def run_directory() -> str:
    """Where the state of the user's running containers is kept."""
    return os.environ.get(DIRECTORY) or f"/tmp/pycontain-run-{user()}"


def mapped(kind: str = "uid") -> list[tuple[int, int, int]]:
    """/proc/self/uid_map or gid_map: (inside, outside, size) of each range."""
    rows = [line.split() for line in files.read_text(f"/proc/self/{kind}_map").splitlines()]
    return [(int(row[0]), int(row[1]), int(row[2])) for row in rows]


def last_id(kind: str) -> int:
    """The highest ID that every one from 0 on is mapped up to; -1 for none."""
    at = 0
    for first, _, size in sorted(mapped(kind)):
        if first > at:
            break
        at = max(at, first + size)
    return at - 1


def may_set_groups() -> bool:
    """Whether a process in this namespace may choose its groups (user_namespaces(7), /proc/PID/setgroups)."""
    return files.read_text("/proc/self/setgroups").strip() == "allow"
