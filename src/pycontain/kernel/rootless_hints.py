"""Why an ordinary user has no user namespace, or one of a single user: sentences. Not for the start road."""

from __future__ import annotations

import errno
import os
import shutil

from pycontain.kernel import probe

_FIRST = "containers without root are not possible here"
_RANGE = "usermod --add-subuids 100000-165535 --add-subgids 100000-165535"


def sentence(step: str, code: int) -> str:
    """One line on what failed when the user's namespace was made or joined, with the next step."""
    text = os.strerror(code)
    if step == "unshare":
        return f"{_FIRST}: no user namespace can be made: {text}: {_why_not(code)}"
    if step == "directory":
        return (
            f"{_FIRST}: the directory of their state cannot be used: {text}: XDG_RUNTIME_DIR/pycontain, or without "
            f"that variable /tmp/pycontain-run-{os.getuid()}, must be this user's own, and nobody else's to write"
        )
    return f"{_FIRST}: the user namespace cannot be set up ({step}: {text}): or run pycontain as root (sudo)"


def _why_not(code: int) -> str:
    for name, wanted, command in sysctls():
        if not wanted:
            return f"root can allow it: {command} ({name})"
    if code == errno.ENOSPC:
        return "the limit of this host is reached: root can raise it: sysctl -w user.max_user_namespaces=15000"
    return "the kernel (CONFIG_USER_NS) or a security policy forbids it: run pycontain as root (sudo)"


def sysctls() -> list[tuple[str, bool, str]]:
    """Kernel settings that forbid user namespaces: (name, whether it lets us, the command that changes it)."""
    found = []
    for name, good in (
        ("kernel.unprivileged_userns_clone", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "0"),
    ):
        value = probe.sysctl(name.replace(".", "/"))
        if value:
            found.append((name, value == good, f"sysctl -w {name}={good}"))
    most = probe.sysctl("user/max_user_namespaces")
    if most:
        found.append(("user.max_user_namespaces", most != "0", "sysctl -w user.max_user_namespaces=15000"))
    return found


def single(user: int) -> str:
    """Why the user's namespace has one user alone: what is missing, and the command that gives it."""
    if not shutil.which("newuidmap") or not shutil.which("newgidmap"):
        return "newuidmap and newgidmap are not installed: apt-get install uidmap"
    name = _name(user)
    for path in ("/etc/subuid", "/etc/subgid"):
        if not _has_range(path, name, user):
            return f"{path} has no range for {name}: as root: {_RANGE} {name}"
    return "newuidmap or newgidmap has failed: they must be set-user-ID root or have file capabilities (ls -l, getcap)"


def _name(user: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _has_range(path: str, name: str, user: int) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return any(line.split(":")[0] in (name, str(user)) and line.count(":") == 2 for line in file)
    except OSError:
        return False
