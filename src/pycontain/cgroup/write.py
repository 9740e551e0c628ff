"""Writes to a cgroup's files: what limits.py makes of a spec, and how it gets into the kernel, all or nothing."""

from __future__ import annotations

import errno
import os

from pycontain.cgroup import controllers as control
from pycontain.cgroup import group as groups
from pycontain.kernel import files
from pycontain.kernel.errors import Error, SpecError, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pycontain.cgroup.group import Group
    from pycontain.cgroup.hierarchy import Hierarchy

#: Stands in a value for the first word that the file has: cpu.max, whose period is set and whose quota stays.
KEEP = "{}"


class Write:
    """One value for one file of a cgroup.

    controller: whose file it is, "" for the core's. file, value: what is written where. where: the JSON path of the
    request. what: its name for people. default: the value is what the kernel has anyway, so a missing controller is no
    error. optional: a kernel without the file does without it. other: what to write where the file does not exist.
    usage: files whose sum must be below ``limit`` beforehand (checkBeforeUpdate).
    """

    __slots__ = ("controller", "default", "file", "limit", "optional", "other", "usage", "value", "what", "where")

    def __init__(
        self,
        controller: str,
        file: str,
        value: str,
        where: str,
        what: str,
        *,
        default: bool = False,
        optional: bool = False,
        other: Write | None = None,
        usage: Sequence[str] = (),
        limit: int = 0,
    ) -> None:
        self.controller = controller
        self.file = file
        self.value = value
        self.where = where
        self.what = what
        self.default = default
        self.optional = optional
        self.other = other
        self.usage = usage
        self.limit = limit

    def __repr__(self) -> str:
        return f"Write({self.file} = {self.value!r}, {self.where})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Write) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]


def needed(writes: Iterable[Write]) -> set[str]:
    """The controllers without which one of the writes would be lost."""
    return {write.controller for write in writes if write.controller and not write.default}


def place(hierarchy: Hierarchy, path: str, writes: Sequence[Write], missing: str = "error") -> tuple[Group, list[str]]:
    """Make a cgroup with these limits: group.create and apply, of which nothing is left when one fails.

    missing: as in apply. Returns the group and the warnings. Raises Error, SpecError, InUse.
    """
    wanted = needed(writes)
    if missing == "error":
        _refuse(writes, control.missing_from_root(hierarchy, wanted - hierarchy.controllers))
    group = groups.create(hierarchy, path, wanted, missing="report")
    try:
        return group, execute(group, writes, {}, missing, group.missing)
    except BaseException:
        group.undo()
        raise


def _refuse(writes: Iterable[Write], missing: dict[str, str]) -> None:
    for write in writes:
        if not write.default and write.controller in missing:
            raise Error(f"{write.what}: {missing[write.controller]}")


def apply(
    group: Group,
    writes: Sequence[Write],
    old: dict[str, str] | None = None,
    missing: str = "error",
    then: Callable[[], None] | None = None,
) -> list[str]:
    """Write limits into a group, enabling the controllers they need; all of them, or none on an error.

    old: the contents of the files beforehand where the caller knows them; {} says that the group is new and that the
    caller removes it on an error. missing: "error", or "warn" to leave out what has no controller. then: what belongs
    to it, called after the last write; where it raises, the writes are taken back.

    Returns one warning for each controller that was left out. Raises Error: a controller or a file is missing, the
    kernel refuses a value, usage is above a limit that must not be.
    """
    absent = group.enable(needed(writes)) if writes else {}
    return execute(group, writes, old, missing, absent, then)


def execute(
    group: Group,
    writes: Sequence[Write],
    old: dict[str, str] | None,
    missing: str,
    absent: dict[str, str],
    then: Callable[[], None] | None = None,
) -> list[str]:
    """As apply, where the caller knows which controllers are ``absent``, each with the sentence that says why."""
    if missing == "error":
        _refuse(writes, absent)
    todo = _Todo(group, [write for write in writes if write.controller not in absent], old)
    try:
        todo.run(then)
    finally:
        todo.close()
    return [
        f"{', '.join(write.what for write in writes if write.controller == name and not write.default)}: "
        f"not enforced: {sentence}"
        for name, sentence in absent.items()
    ]


class _Todo:
    """Writes with their files opened, so that nothing is written before every file is known to exist."""

    def __init__(self, group: Group, writes: Iterable[Write], old: dict[str, str] | None) -> None:
        self.group = group
        self.fresh = old is not None and not old
        self.before: dict[str, str] = dict(old or {})
        self.entries: list[tuple[Write, int]] = []
        self.others: list[int] = []
        try:
            for write in writes:
                self._open(write)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for fd in (*(fd for _, fd in self.entries), *self.others):
            os.close(fd)
        self.entries, self.others = [], []

    def _open(self, write: Write) -> None:
        try:
            self.entries.append((write, os.open(write.file, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self.group.fd)))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise self._error(write, error) from None
            if write.other:
                self._open(write.other)
            elif not (write.default or (write.optional and not _swapping(write))):
                raise Error(
                    f"{write.what}: cgroup {self.group.path} has no {write.file}: {_absence(self.group, write)}"
                ) from None

    def _old(self, file: str) -> str:
        """What a file had before; "" for one that cannot be read."""
        if file not in self.before:
            try:
                self.before[file] = self.group.read(file).rstrip("\n")
            except OSError:
                self.before[file] = ""
        return self.before[file]

    def run(self, then: Callable[[], None] | None = None) -> None:
        self._check_usage()
        self._check_cpus()
        if not self.fresh:
            for write, _ in self.entries:
                self._old(write.file)
        self.entries.sort(key=lambda entry: self._rank(entry[0]))
        done: list[tuple[Write, int, str]] = []
        for write, fd in self.entries:
            try:
                self._write(write, fd, done)
            except OSError as error:
                failed = [] if self.fresh else self._restore(done)
                text = self._error(write, error)
                raise _with_failed(text, failed) from None
        if then is None:
            return
        try:
            then()
        except BaseException as error:
            failed = [] if self.fresh else self._restore(done)
            if failed and isinstance(error, Error):
                raise _with_failed(error, failed) from None
            raise

    def _write(self, write: Write, fd: int, done: list[tuple[Write, int, str]]) -> None:
        for line in self._lines(write):
            try:
                os.write(fd, _bytes(line))
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP or write.other is None:
                    raise
                # the file is there for another disk, whose scheduler it is
                self._write_other(write.other, error, done)
                return
            done.append((write, fd, line))

    def _write_other(self, write: Write, reason: OSError, done: list[tuple[Write, int, str]]) -> None:
        try:
            fd = os.open(write.file, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self.group.fd)
        except OSError:
            raise reason from None
        self.others.append(fd)
        self._old(write.file)
        self._write(write, fd, done)

    def _lines(self, write: Write) -> list[str]:
        value = write.value
        if KEEP in value:
            value = value.replace(KEEP, self._old(write.file).partition(" ")[0])
        if write.file == "io.bfq.weight" and ":" not in value and not self.fresh:
            # a new default makes bfq forget the weights of single disks
            return [value, *_disks(self._old(write.file))]
        return value.split("\n")

    def _check_usage(self) -> None:
        for write, _ in self.entries:
            if not write.usage:
                continue
            used = sum(int(self._old(file) or 0) for file in write.usage)
            if write.limit <= used:
                raise Error(
                    f"{write.what}: {write.limit} bytes is not above what cgroup {self.group.path} uses now, {used} "
                    "bytes (checkBeforeUpdate); free memory in it first, or allow the kernel to reclaim and kill"
                )

    def _check_cpus(self) -> None:
        """The kernel takes any CPU number and then uses what the parent has: a wish it cannot fulfil is an error."""
        for write, _ in self.entries:
            if write.file not in ("cpuset.cpus", "cpuset.mems"):
                continue
            wanted = parse_list(write.value)
            try:
                offered = parse_list(self.group.read(f"../{write.file}.effective").strip())
            except OSError:
                continue
            if wanted is not None and offered is not None and not wanted <= offered:
                raise Error(
                    f"{write.what}: {format_list(wanted - offered)} cannot be had: the group above cgroup "
                    f"{self.group.path} has {format_list(offered)}"
                )

    def _rank(self, write: Write) -> int:
        """0 before the others, 1 with them, 2 after them: so that no step asks for more than the kernel allows."""
        file, value = write.file, write.value
        if self.fresh:
            return 2 if file == "cpu.idle" else 1
        if file in ("memory.max", "memory.swap.max"):
            # What grows first: a shrinking memory.max pushes pages out to swap, and kills where there is no room.
            return 0 if _number(value) > _number(self._old(file)) else 1
        if file == "cpu.max.burst":
            # Never above the quota, neither the old nor the new.
            return 0 if _number(value) <= _number(self._old("cpu.max").partition(" ")[0]) else 2
        if file == "cpu.idle":
            # While it is 1, cpu.weight cannot be set.
            return 0 if value == "0" else 2
        return 1

    def _restore(self, done: list[tuple[Write, int, str]]) -> list[str]:
        """Write the old values back, last first; the files for which that failed."""
        failed = []
        for write, fd, written in reversed(done):
            try:
                for line in earlier(write.file, written, self.before.get(write.file, "")):
                    os.write(fd, _bytes(line))
            except OSError:
                failed.append(write.file)
        return failed

    def _error(self, write: Write, error: OSError) -> Error:
        value = write.value.replace("\n", "\\n")
        hint = _hint(self.group, write, error)
        text = f"cgroup {self.group.path}: cannot write {value!r} to {write.file}: {os_text(error)}"
        return SpecError(write.what, text + (f"; {hint}" if hint else ""))


def _with_failed(error: Error, failed: list[str]) -> Error:
    return Error(f"{error.message}; could not be set back: {', '.join(failed)}") if failed else error


def earlier(file: str, line: str, before: str) -> list[str]:
    """The lines that undo the write of one line to a file that had ``before``.

    Of a file with a line for each key (io.max, rdma.max) only what the key had.
    """
    name = line.partition(" ")[0]
    if file in ("io.weight", "io.bfq.weight"):
        name = name if ":" in name else "default"
        lost = _disks(before) if name == "default" and file == "io.bfq.weight" else []
        return [_line(before, name) or f"{name} default", *lost]
    if file == "io.max":
        return [_line(before, name) or f"{name} rbps=max wbps=max riops=max wiops=max"]
    if "\n" in before or "=" in line:
        had = _line(before, name)
        return [had] if had else []
    return [before]


def _disks(text: str) -> list[str]:
    """The lines of single disks."""
    return [line for line in text.splitlines() if ":" in line.partition(" ")[0]]


def _bytes(line: str) -> bytes:
    return line.encode("utf-8", "surrogateescape") + b"\n"


def _line(text: str, key: str) -> str:
    for line in text.split("\n"):
        if line.partition(" ")[0] == key:
            return line
    return ""


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float("inf")


def parse_list(text: str) -> set[int] | None:
    """The numbers of a list such as ``0-3,8`` (cpuset(7), "List format"); None for other forms."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            return None
        low, high = int(first), int(last or first)
        if high > 1 << 16:
            return None
        numbers.update(range(low, high + 1))
    return numbers


def format_list(numbers: set[int]) -> str:
    """The opposite of parse_list."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


#: The kernel that brought a file, or what else it needs; for the error text.
_SINCE = {
    "cpu.idle": "it came with Linux 5.15",
    "cpu.max": "the kernel is built without CONFIG_CFS_BANDWIDTH",
    "cpu.max.burst": "it came with Linux 5.14",
    "cpu.weight": "the kernel is built without CONFIG_FAIR_GROUP_SCHED",
    "io.max": "the kernel is built without CONFIG_BLK_DEV_THROTTLING",
    "io.weight": "no disk uses the scheduler bfq, and the kernel is built without CONFIG_BLK_CGROUP_IOCOST",
    "memory.swap.max": "the kernel does not account swap (CONFIG_SWAP; boot without swapaccount=0)",
}


def _swapping(write: Write) -> bool:
    """Whether the host swaps and does not count it: then a limit of no swap is not kept by itself."""
    return write.file == "memory.swap.max" and files.read_bytes("/proc/swaps").count(b"\n") > 1


def _absence(group: Group, write: Write) -> str:
    known = _SINCE.get(write.file)
    if known:
        return known
    if write.file.startswith("hugetlb."):
        sizes = [name.split(".")[1] for name in os.listdir(group.fd) if name.startswith("hugetlb.")]
        sizes = [size for size in dict.fromkeys(sizes) if size[:1].isdigit()]
        return f"huge pages have the sizes {', '.join(sizes) or 'none'} here"
    return "this kernel does not have it; check the name"


def _hint(group: Group, write: Write, error: OSError) -> str:
    number = error.errno
    if number in (errno.EACCES, errno.EPERM):
        return "run as root, or have the limits set by who has delegated the group"
    if number == errno.EROFS:
        return f"mount {group.hierarchy.mount} read-write"
    if number in (errno.ENODEV, errno.ENXIO) and write.file.startswith("io."):
        return "give the numbers of a whole disk, not of a partition (lsblk shows them)"
    if number == errno.ENODEV and write.file == "rdma.max":
        return "the host has no RDMA device of this name (rdma link shows them)"
    if number == errno.EOPNOTSUPP and write.file.startswith("io."):
        return "the disk's scheduler does not do it"
    if number == errno.EINVAL and write.file == "cpu.weight":
        return "it cannot be set while cpu.idle is 1"
    if number == errno.EINVAL and write.file == "cpu.max":
        return "the quota must not be below cpu.max.burst: lower the burst as well"
    if number in (errno.EINVAL, errno.ERANGE):
        return "the kernel does not take this value"
    return ""
