"""HOME where a process has none: that of its user's entry in the container's /etc/passwd, as runc sets it."""

from __future__ import annotations

from pycontain.kernel.errors import Error
from pycontain.storage import lookup
from pycontain.storage.users import resolve_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LIMIT = 1 << 20


def set_home(process: dict[str, Any], root: str) -> None:
    """root: the directory of the container's root; nothing of it is followed out of it."""
    env = process.get("env")
    env = [] if env is None else env
    if type(env) is not list or any(type(entry) is not str or entry.startswith("HOME=") for entry in env):
        return
    user = process.get("user")
    uid = user.get("uid", 0) if type(user) is dict else 0
    if type(uid) is not int or uid < 0:
        return
    try:
        home = resolve_user(str(uid), lookup.find_in([root], "/etc/passwd", _LIMIT), None).home
    except (Error, OSError):
        home = "/"  # no such file, or none that can be read
    process["env"] = [*env, f"HOME={home}"]
