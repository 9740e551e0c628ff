"""The limits that somebody asks for, as ``linux.resources``: of a new container, and as a change of one that exists."""

from __future__ import annotations

import os
from _stat import S_ISBLK

from pycontain.kernel.errors import UsageError, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: µs: the period of --cpus, and the kernel's own.
CPU_PERIOD = 100_000
#: What the kernel gives everybody: cpu.shares of v1, its weight of 100 in v2.
_SHARES = 1024

#: flag → member of linux.resources.blockIO
THROTTLES = {
    "device-read-bps": "throttleReadBpsDevice",
    "device-write-bps": "throttleWriteBpsDevice",
    "device-read-iops": "throttleReadIOPSDevice",
    "device-write-iops": "throttleWriteIOPSDevice",
}


class Limits:
    """What was asked for; None: nothing. -1 takes a limit away.

    memory, memory_swap (both together), memory_reservation: bytes. cpu_quota, cpu_period: µs. pids: processes and
    threads. blkio_weight: 10 to 1000. throttles: member of blockIO → (device file, bytes or operations a second; 0 for
    no limit).
    """

    __slots__ = (
        "blkio_weight",
        "cpu_period",
        "cpu_quota",
        "cpu_shares",
        "cpuset_cpus",
        "cpuset_mems",
        "memory",
        "memory_reservation",
        "memory_swap",
        "pids",
        "throttles",
    )

    def __init__(self) -> None:
        self.memory: int | None = None
        self.memory_swap: int | None = None
        self.memory_reservation: int | None = None
        self.cpu_quota: int | None = None
        self.cpu_period: int | None = None
        self.cpu_shares: int | None = None
        self.cpuset_cpus: str | None = None
        self.cpuset_mems: str | None = None
        self.pids: int | None = None
        self.blkio_weight: int | None = None
        self.throttles: dict[str, list[tuple[str, int]]] = {}

    def check(self) -> None:
        """Whether the sizes fit each other. Raises UsageError."""
        self._new_memory()

    def resources(self) -> dict[str, Any]:
        """``linux.resources`` (config-linux.md) of a new container, without devices. Raises UsageError."""
        return self._sections(self._new_memory())

    def change(self, old: dict[str, Any]) -> dict[str, Any]:
        """The part of ``linux.resources`` that changes for a container that has ``old``. Raises UsageError."""
        return self._sections(self._changed_memory(old.get("memory") or {}))

    def _sections(self, memory: dict[str, int]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        sections = {"memory": memory, "cpu": self._cpu(), "pids": self._pids(), "blockIO": self._block_io()}
        for key, section in sections.items():
            if section:
                result[key] = section
        return result

    # --- memory ---------------------------------------------------------------------------------------------------

    def _new_memory(self) -> dict[str, int]:
        memory: dict[str, int] = {}
        if self.memory is not None:
            memory.update(limit=self.memory, swap=self._swap_beside(self.memory))
        elif self.memory_swap is not None:
            memory["swap"] = self.memory_swap
        if self.memory_reservation is not None:
            memory["reservation"] = self.memory_reservation
        _check_memory(memory)
        return memory

    def _swap_beside(self, limit: int) -> int:
        """Docker: swap as much again where it is not said."""
        if self.memory_swap is not None:
            return self.memory_swap
        return 2 * limit if limit > 0 else limit

    def _changed_memory(self, old: dict[str, Any]) -> dict[str, int]:
        """What of the section changes. 0 takes a limit away, too, as -1: in the spec it says nothing."""
        memory: dict[str, int] = {}
        had_limit, had_swap = old.get("limit") or 0, old.get("swap") or 0
        if self.memory is not None:
            limit = self.memory or -1
            swap = self.memory_swap or -1 if self.memory_swap is not None else had_swap
            if limit < 0:
                if self.memory_swap is not None and swap > 0:
                    raise UsageError("--memory-swap is memory and swap together: it cannot be without --memory")
                swap = -1
            elif not swap or (had_limit <= 0 and self.memory_swap is None):
                swap = self._swap_beside(limit)
            elif self.memory_swap is None and 0 < swap < limit:
                raise UsageError(
                    f"--memory {limit} is above what the container may have of memory and swap together, {swap} bytes:"
                    " give --memory-swap as well (-1 for unlimited swap)"
                )
            memory.update(limit=limit, swap=swap)
        elif self.memory_swap is not None:
            swap = self.memory_swap or -1
            if swap > 0 and had_limit <= 0:
                raise UsageError("--memory-swap is memory and swap together: give --memory as well")
            memory.update({"limit": had_limit} if had_limit > 0 else {}, swap=swap)
        if self.memory_reservation is not None:
            memory["reservation"] = self.memory_reservation or -1
        _check_memory({**old, **memory})
        return memory

    # --- the others -----------------------------------------------------------------------------------------------

    def _cpu(self) -> dict[str, Any]:
        cpu: dict[str, Any] = {}
        if self.cpu_quota is not None:
            cpu["quota"] = self.cpu_quota or -1
        if self.cpu_period is not None:
            cpu["period"] = self.cpu_period
        if self.cpu_shares is not None:
            cpu["shares"] = self.cpu_shares if self.cpu_shares > 0 else _SHARES
        if self.cpuset_cpus is not None:
            cpu["cpus"] = self.cpuset_cpus
        if self.cpuset_mems is not None:
            cpu["mems"] = self.cpuset_mems
        return cpu

    def _pids(self) -> dict[str, Any]:
        return {} if self.pids is None else {"limit": self.pids or -1}

    def _block_io(self) -> dict[str, Any]:
        section: dict[str, Any] = {}
        if self.blkio_weight is not None:
            section["weight"] = self.blkio_weight
        for key, entries in self.throttles.items():
            if entries:
                section[key] = [_throttle(path, rate) for path, rate in entries]
        return section


def _check_memory(memory: dict[str, Any]) -> None:
    limit, swap, reservation = (memory.get(key) or 0 for key in ("limit", "swap", "reservation"))
    if swap > 0 and limit == 0:
        raise UsageError("--memory-swap is memory and swap together: give --memory as well")
    if 0 < swap < limit:
        raise UsageError("--memory-swap is smaller than --memory: it is memory and swap together")
    if 0 < limit < reservation:
        raise UsageError(f"--memory-reservation {reservation} is above --memory, {limit} bytes: it is a part of it")


def _throttle(path: str, rate: int) -> dict[str, int]:
    try:
        info = os.stat(path)
    except OSError as error:
        raise UsageError(f"device {path}: {os_text(error)}") from None
    if not S_ISBLK(info.st_mode):
        raise UsageError(f"device {path} is not a disk: give a block device such as /dev/sda (lsblk lists them)")
    return {"major": os.major(info.st_rdev), "minor": os.minor(info.st_rdev), "rate": rate}
