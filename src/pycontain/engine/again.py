"""What the monitor becomes when a restart policy starts its container again; it has the container's lock."""

from __future__ import annotations

import os

from pycontain.engine import record as records
from pycontain.engine.claim import Claim
from pycontain.engine.load import load
from pycontain.engine.paths import Paths
from pycontain.engine.start import Attachment, start
from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: The helper leaves no other descriptor open (op_restart).
_LOCK = 3


def main(arguments: Sequence[str]) -> None:
    """ROOT RUN-ROOT ID ["service"]. Returns never; nobody reads what it prints, so a failure shows in inspect only."""
    root, run_root, container_id, *rest = arguments
    paths = Paths(root, run_root)
    os.set_inheritable(_LOCK, False)
    try:
        made = load(paths, container_id, Claim(paths, container_id, _LOCK))
        made.record = records.change_count(paths, container_id, 1)
        how = Attachment(False)
        how.service = rest == ["service"]
        start(paths, made, how, fresh=False)
    except (Error, OSError):
        os._exit(1)
