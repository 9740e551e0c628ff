"""Whether the memory in a directory of images is all there.

CRIU reads it in the process that it makes, and asks for what is missing for ever: a file of pages that is too short is
refused before that. Its list is pagemap-PROCESS.img: two magic numbers, the number of its file of pages, and what is in
that (criu.org/Images, images/pagemap.proto).
"""

from __future__ import annotations

import os

from pycontain.kernel import files
from pycontain.kernel.errors import Error, os_text
from pycontain.oci import criu_messages as messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain.oci.criu_messages import Message

_LIST = b"\x19\x43\x56\x54\x25\x40\x08\x56"
_TREE = b"\x19\x43\x56\x54\x30\x30\x27\x50"
# message pstree_entry
_PID = 1
# message pagemap_head; message pagemap_entry
_PAGES_ID = 1
_FEW, _IN_PARENT, _FLAGS, _MANY = 2, 3, 4, 5
_PARENT, _PRESENT = 1 << 0, 1 << 2
_LIMIT = 256 << 20


def check(directory: str) -> None:
    """Raises Error for a list that cannot be read, and for a file of pages that is shorter than its list says."""
    for process in _processes(f"{directory}/pstree.img"):
        listed = f"{directory}/pagemap-{process}.img"
        if not os.path.exists(listed):
            continue  # a zombie has none; where one should be, CRIU says so
        pages, size = _read(listed)
        path = f"{directory}/pages-{pages}.img"
        try:
            found = os.stat(path).st_size
        except OSError as error:
            raise Error(f"{path}, memory of the container: {os_text(error)}", 1) from None
        if found < size:
            raise Error(f"{path} is damaged: it has {found} of {size} bytes of memory: make the checkpoint again", 1)


def _processes(path: str) -> list[int]:
    """Their IDs: a directory that was used before has lists of others too. None where CRIU is to say what is wrong."""
    try:
        data = files.read_bytes(path, limit=_LIMIT)
        return [messages.number(entry, _PID) for entry in _messages(data, _TREE)]
    except (OSError, ValueError):
        return []


def _read(path: str) -> tuple[int, int]:
    """The number of its file of pages, and how many bytes of that it speaks of. Raises Error."""
    try:
        data = files.read_bytes(path, limit=_LIMIT)
        found = _messages(data, _LIST)
        pages = messages.number(next(found), _PAGES_ID)
        return pages, sum(map(_size, found))
    except OSError as error:
        raise Error(f"cannot read {path}: {os_text(error)}", 1) from None
    except (ValueError, StopIteration):
        raise Error(f"{path} is damaged: it is no list of pages: make the checkpoint again", 1) from None


def _messages(data: bytes, magic: bytes) -> Iterator[Message]:
    if not data.startswith(magic):
        raise ValueError("another kind of file")
    at = len(magic)
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if end > len(data):
            raise ValueError("the file is cut off")
        yield messages.decode(data[at + 4 : end])
        at = end


def _size(entry: Message) -> int:
    """Bytes of an entry: 0 for what is elsewhere, in an earlier checkpoint or with a server of pages."""
    flags = messages.number(entry, _FLAGS, _PRESENT)
    if not flags & _PRESENT or flags & _PARENT or messages.number(entry, _IN_PARENT):
        return 0
    pages = messages.number(entry, _MANY) or messages.number(entry, _FEW)
    return pages * os.sysconf("SC_PAGE_SIZE")
