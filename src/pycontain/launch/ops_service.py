"""What a service manager that starts a container is told."""

from __future__ import annotations

from pycontain.launch.ops import AFTER, HOST, Op


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


class ServiceReady(Op):
    """Tell a service manager that this process, its service's main one, has started what it is for (sd_notify(3)): when
    it has become the container's monitor.

    host: the manager's socket, a path or ``@NAME``; "" where there is none. slot: the descriptor of a lock that is
    given back now, by which the number of those that start at one time is limited; -1 for none.
    """

    code, name, side = 118, "service_ready", HOST
    fields = (("host", "s"), ("slot", "n"))

    def __init__(self, host: str, slot: int) -> None:
        self.values = (host, slot)

    def describe(self) -> str:
        return f"tell {self.values[0] or 'nobody'} that the service runs"


class ServiceEnd(Op):
    """The monitor ends as the container did: with its exit status, 128+n for a signal; with 0 where somebody wanted
    that end, or where the container has powered itself off.
    """

    code, name, side = 119, "service_end", AFTER
    fields = ()

    def __init__(self) -> None:
        self.values = ()

    def describe(self) -> str:
        return "end as the container did"
