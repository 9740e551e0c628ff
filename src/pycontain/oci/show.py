"""state and list: what containers there are and what they do."""

from __future__ import annotations

import os
import sys

from pycontain.kernel import jsontext
from pycontain.kernel.errors import Error, UsageError
from pycontain.oci import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.oci.arguments import Call

_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
_MINIMUM, _PADDING = 12, 3


def show_state(root: str, call: Call) -> int:
    """Print a container's state as runc does."""
    sys.stdout.write(state.pretty(state.find(root, call.id()).document()))
    return 0


def show_list(root: str, call: Call) -> int:
    """All containers, as a table, (-f json) as an array, or (-q) by their IDs."""
    form = call.text("format", "table")
    if form not in ("table", "json"):
        raise UsageError(f"list: --format: invalid format option {form!r}: it is table or json", 1)
    documents = _documents(root)
    if call.flag("quiet"):
        sys.stdout.write("".join([f"{one['id']}\n" for one in documents]))
    elif form == "json":
        print(jsontext.dumps(documents or None))  # as Go prints an empty list
    else:
        sys.stdout.write(table([list(_COLUMNS), *(_row(one) for one in documents)]))
    return 0


def _documents(root: str) -> list[dict[str, Any]]:
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            container = state.find(root, name)
            found.append(container.document(_owner(container.directory)))
        except (Error, OSError):
            continue  # half-made, damaged, or gone meanwhile
    return found


def _owner(directory: str) -> str:
    import pwd

    uid = os.stat(directory).st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _row(one: dict[str, Any]) -> list[str]:
    return [str(one[key]) for key in ("id", "pid", "status", "bundle", "created", "owner")]


def table(rows: list[list[str]]) -> str:
    """Columns as Go's tabwriter makes them for runc: at least 12 wide, 3 blanks between; the last one is not padded."""
    widths = [max(_MINIMUM, *[len(row[at]) + _PADDING for row in rows]) for at in range(len(rows[0]) - 1)]
    lines = ["".join([f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]) + row[-1] for row in rows]
    return "\n".join(lines) + "\n"
