"""What the start of a system that boots needs, beside what every container has."""

from __future__ import annotations

from pycontain.launch.ops import HOST, Op


class ReadySocket(Op):
    """Make the socket ``notify`` in a directory: the container's program says there that it is ready (sd_notify(3)).

    The monitor's relay reads it; then there is a file ``ready`` beside it.
    """

    code, name, side = 110, "ready_socket", HOST
    fields = (("directory", "s"),)

    def __init__(self, directory: str) -> None:
        self.values = (directory,)

    def describe(self) -> str:
        return f"make the socket {self.values[0]}/notify"
