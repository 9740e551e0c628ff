"""Operations of a container's disk.

As those of ops.py, which says what the parts of a class are.
"""

from __future__ import annotations

from pycontain.launch.ops import HOST, Op


class GiveMount(Op):
    """Put a descriptor of a mount that is attached nowhere into a slot, before the guest is made; it is closed here."""

    code, name, side = 114, "give_mount", HOST
    fields = (("slot", "n"), ("fd", "n"))

    def __init__(self, slot: int, fd: int) -> None:
        self.values = (slot, fd)

    def describe(self) -> str:
        return "give the container's disk to its process"
