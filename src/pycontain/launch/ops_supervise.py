"""Operations for supervised system calls. As those of ops.py, which says what the parts of a class are."""

from __future__ import annotations

from pycontain.launch.ops import HOST, Op


class Supervise(Op):
    """Start the process that makes a guest's supervised calls (docs/supervised-calls.md).

    what, types: bits of supervise.CALLS and supervise.TYPES. pass_mounts: 1 where the guest's filter has mount(2).
    nested: 1 in a user namespace. directory: where its socket ``supervise`` is made. cgroup: as Clone's. socket,
    guest_socket: both ends of a pair; over the first comes the filter's listener, the other one is SeccompListener's.
    """

    code, name, side, since = 90, "supervise", HOST, "5.8"
    fields = (
        ("what", "n"),
        ("types", "n"),
        ("pass_mounts", "n"),
        ("nested", "n"),
        ("directory", "s"),
        ("cgroup", "n"),
        ("socket", "n"),
        ("guest_socket", "n"),
    )

    def __init__(
        self,
        what: int,
        types: int,
        pass_mounts: bool,
        nested: bool,
        directory: str,
        cgroup: int,
        socket: int,
        guest_socket: int,
    ) -> None:
        self.values = (what, types, int(pass_mounts), int(nested), directory, cgroup, socket, guest_socket)

    def describe(self) -> str:
        return "supervise the container's system calls"
