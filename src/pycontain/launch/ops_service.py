"""What a service manager that starts a container is told."""

from __future__ import annotations

from pycontain.launch.ops import HOST, Op


class Notify(Op):
    """Tell a service manager that the container's program is ready, when it says so (sd_notify(3)).

    socket: a datagram socket that the program can reach. host: the manager's socket, a path or ``@NAME``. stays: 1 when
    the guest outlives this process, which then waits here until it is ready, and names it as the service's main
    process; 0 when Wait listens, and this process stays the main one.
    """

    code, name, side = 85, "notify", HOST
    fields = (("socket", "n"), ("host", "s"), ("stays", "n"))

    def __init__(self, socket: int, host: str, stays: bool) -> None:
        self.values = (socket, host, int(stays))

    def describe(self) -> str:
        return f"tell {self.values[1]} when the program is ready"
