"""Who may log in as root: its password, its keys."""

from __future__ import annotations

import time

from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.tenant.setup.root import Root

_SHADOW = "/etc/shadow"
_KEYS = "/root/.ssh/authorized_keys"


def set_password(root: Root, hashed: str) -> None:
    """Give root a password that is hashed already (crypt(5)). Raises Error where the guest has no shadow(5)."""
    text = root.text(_SHADOW)
    if not text:
        raise Error(f"it has no {_SHADOW}, or one that is no regular file: its root cannot have a password")
    root.write(_SHADOW, with_password(text, hashed), 0o600)


def with_password(text: str, hashed: str) -> str:
    """A shadow file with another password of root's, changed today."""
    lines = text.splitlines()
    today = str(int(time.time()) // 86400)
    for at, line in enumerate(lines):
        fields = line.split(":")
        if fields[0] == "root":
            fields += [""] * (9 - len(fields))
            fields[1:3] = [hashed, today]
            lines[at] = ":".join(fields)
            break
    else:
        lines.insert(0, f"root:{hashed}:{today}:0:99999:7:::")
    return "\n".join(lines) + "\n"


def add_keys(root: Root, keys: list[str]) -> None:
    """Lines that root's authorized_keys does not have yet. Raises OSError."""
    text = root.text(_KEYS)
    known = set(text.splitlines())
    new = [key for key in keys if key not in known]
    if not new:
        return
    root.directory("/root", 0o700)
    root.directory("/root/.ssh", 0o700)
    if text and not text.endswith("\n"):
        text += "\n"
    root.write(_KEYS, text + "".join(f"{key}\n" for key in new), 0o600)
