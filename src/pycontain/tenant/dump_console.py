"""Whose terminal a tenant's console is, in CRIU's files.

CRIU asks a process that has it open, the first one it comes to, and makes a terminal again that has a session only.
Init has it open as nobody's terminal, so what its login has made of it gets lost: it is written in afterwards.
"""

from __future__ import annotations

import os

from pycontain.kernel import files
from pycontain.kernel.errors import Error
from pycontain.oci import criu_messages as messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pycontain.oci.criu_messages import Value

_FILE = "tty-info.img"
_MAGIC = 8
# message tty_info_entry (images/tty.proto)
_SID, _PGRP, _RDEV = 6, 7, 8
# /proc/PID/stat, counted from behind the name: pgrp, tty_nr, tpgid
_STAT_PGRP, _STAT_TTY, _STAT_FOREGROUND = 2, 4, 5


def note(images: str, init: int, pids: Iterable[int]) -> None:
    """Write it into the files of a dump, while the processes are there still. Raises Error where nobody has it open:
    then CRIU would not bring it back; OSError.
    """
    device = os.stat(f"/proc/{init}/root/dev/console").st_rdev
    path = f"{images}/{_FILE}"
    try:
        data = files.read_bytes(path)
    except FileNotFoundError:
        data = b""
    text, known = with_session(data, device, *_session(init, device, pids))
    if not known:
        raise Error("no process of it has its console open, which CRIU restores with one that has it only")
    if text != data:
        files.create(path, text, 0o600)


def with_session(data: bytes, device: int, session: int, group: int) -> tuple[bytes, bool]:
    """The file with the session and the foreground group of a terminal that has none; whether it has that terminal.

    Raises ValueError for what is no such file.
    """
    out, at, known = data[:_MAGIC], _MAGIC, False
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        entry = messages.decode(data[at + 4 : end])
        at = end
        if messages.number(entry, _RDEV) == device:
            known = True
            if not messages.number(entry, _SID):
                entry[_SID], entry[_PGRP] = [session], [group]
        fields: list[tuple[int, Value]] = [(key, value) for key in sorted(entry) for value in entry[key]]
        text = messages.encode(fields)
        out += len(text).to_bytes(4, "little") + text
    return out, known


def _session(init: int, device: int, pids: Iterable[int]) -> tuple[int, int]:
    """The session whose terminal it is, and the group in its foreground, as they are numbered inside; init's own where
    no session has it.
    """
    own = _numbers(init, "NSsid")
    found, front = own[-1], 0
    groups: dict[int, int] = {}
    for pid in pids:
        try:
            stat = files.read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
            session, group = _numbers(pid, "NSsid"), _numbers(pid, "NSpgid")
        except OSError:
            continue
        if len(session) != len(own):
            continue  # in a PID namespace below
        groups[int(stat[_STAT_PGRP])] = group[-1]
        if int(stat[_STAT_TTY]) == device and session[-1]:
            found, front = session[-1], int(stat[_STAT_FOREGROUND])
    return found, groups.get(front, found)


def _numbers(pid: int, key: str) -> list[int]:
    """A line of /proc/PID/status: the numbers in each PID namespace, the innermost last."""
    for line in files.read_text(f"/proc/{pid}/status").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return [int(word) for word in value.split()]
    return [0]
