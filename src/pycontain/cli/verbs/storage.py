"""``--storage-opt`` of run, create and update: how much a container's own files may take."""

from __future__ import annotations

from pycontain.cli.args import Flag, decimal, is_number, size
from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.cli.args import Options

_KEYS = ("size", "inodes")
_MOST_INODES = (1 << 32) - 1


def option(value: str) -> tuple[int | None, int | None]:
    """``size=10G,inodes=100000``: bytes and inodes, None where it is not said, 0 for no limit. Raises UsageError."""
    found: dict[str, int] = {}
    for part in value.split(","):
        key, _, text = part.partition("=")
        if key not in _KEYS or not text:
            raise UsageError(f"{value!r}: give size=SIZE, inodes=NUMBER or both, such as size=10G,inodes=100000")
        if key in found:
            raise UsageError(f"{value!r}: {key} is given twice")
        found[key] = _size(text) if key == "size" else _inodes(text)
    return found.get("size"), found.get("inodes")


def _size(text: str) -> int:
    if text == "-1":
        return 0
    if decimal(text.lower().rstrip("bkmgti"), 9) is None:
        raise UsageError(f"size={text} is not a size: give a number with k, m, g or t, such as size=10G")
    return size(text)


def _inodes(text: str) -> int:
    if text == "-1":
        return 0
    if not is_number(text) or len(text) > 10 or int(text) > _MOST_INODES:
        raise UsageError(f"inodes={text} is not a number of inodes: give one up to {_MOST_INODES}, or -1 for no limit")
    return int(text)


def flag(group: str) -> Flag:
    """The flag, in a group of --help."""
    return Flag(
        "--storage-opt",
        "How much its own files may take: size=SIZE, inodes=NUMBER; with commas, or given again. -1 for no limit.",
        option,
        "KEY=VALUE,...",
        repeat=True,
        group=group,
    )


def read(options: Options) -> tuple[int | None, int | None] | None:
    """Bytes and inodes as ``option`` has them, None where the flag was not given. Raises UsageError."""
    if not options.has("storage-opt"):
        return None
    size: int | None = None
    inodes: int | None = None
    for one in options.all("storage-opt", tuple):
        if (size is not None and one[0] is not None) or (inodes is not None and one[1] is not None):
            raise UsageError("--storage-opt: size or inodes is given twice")
        size, inodes = one[0] if size is None else size, one[1] if inodes is None else inodes
    return size, inodes
