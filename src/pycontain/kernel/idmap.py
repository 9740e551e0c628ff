"""Maps of user and group IDs between a user namespace and the host, and ranges of IDs (user_namespaces(7))."""

from __future__ import annotations

from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    #: First ID inside, first ID outside, how many.
    Extent = tuple[int, int, int]
    #: First ID, how many.
    Range = tuple[int, int]

#: 2**32 - 1 is "no ID" (setresuid(2)), so there are so many IDs.
ALL = 2**32 - 1
#: Lines that the kernel takes in a map since Linux 4.15.
MAX_EXTENTS = 340


class Maps:
    """What the IDs of a container are on the host. uids, gids: (first inside, first outside, how many)."""

    __slots__ = ("gids", "uids")

    def __init__(self, uids: list[Extent], gids: list[Extent]) -> None:
        self.uids = uids
        self.gids = gids

    @property
    def identical(self) -> bool:
        """Whether every ID that there is inside is the same outside: then no mount needs its owners mapped."""
        return all(inside == outside for inside, outside, _ in [*self.uids, *self.gids])

    @property
    def root(self) -> tuple[int, int]:
        """The host's IDs of the container's root."""
        return to_outside(self.uids, 0), to_outside(self.gids, 0)

    def spec(self) -> dict[str, list[dict[str, int]]]:
        """``uidMappings`` and ``gidMappings`` of ``linux`` in config.json."""
        return {"uidMappings": _entries(self.uids), "gidMappings": _entries(self.gids)}


def _entries(extents: list[Extent]) -> list[dict[str, int]]:
    return [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in extents]


def to_outside(extents: list[Extent], number: int) -> int:
    """What an ID of the inside is outside, -1 where it is not mapped."""
    return next((number - inside + outside for inside, outside, size in extents if 0 <= number - inside < size), -1)


def to_inside(extents: list[Extent], number: int) -> int:
    """What an ID of the outside is inside, -1 where it is not mapped."""
    return next((number - outside + inside for inside, outside, size in extents if 0 <= number - outside < size), -1)


def overlap(one: Range, other: Range) -> bool:
    """Whether two ranges share an ID."""
    return one[0] < other[0] + other[1] and other[0] < one[0] + one[1]


def _number(text: str) -> int:
    """A decimal number that can be an ID or a count, -1 for any other text."""
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        return -1
    number = int(text)
    return number if number <= ALL else -1


def parse(text: str) -> list[Extent]:
    """``UID:HOST:SIZE[,...]`` as extents, in the order of the inside. Raises UsageError."""
    extents: list[Extent] = []
    for part in text.split(","):
        words = [_number(word) for word in part.split(":")]
        if len(words) != 3 or min(words) < 0:
            raise UsageError(f"{part!r} is not UID:HOST:SIZE, such as 0:100000:65536")
        inside, outside, size = words
        if not size or max(inside, outside) + size > ALL:
            raise UsageError(f"{part!r}: the size has to be 1 or more, and the last ID below {ALL}")
        for other in extents:
            if overlap((inside, size), (other[0], other[2])) or overlap((outside, size), (other[1], other[2])):
                raise UsageError(f"{part!r} has IDs that another part has")
        extents.append((inside, outside, size))
    if len(extents) > MAX_EXTENTS:
        raise UsageError(f"{len(extents)} parts are more than the {MAX_EXTENTS} that the kernel takes")
    if to_outside(extents, 0) < 0:
        raise UsageError("no part has 0, which the container's root needs")
    return sorted(extents)


def parse_ranges(text: str) -> list[Range]:
    """``START:SIZE[,...]`` as ranges that do not overlap and do not have ID 0. Raises UsageError."""
    ranges: list[Range] = []
    for part in text.split(","):
        words = [_number(word) for word in part.split(":")]
        if len(words) != 2 or min(words) < 1 or sum(words) > ALL:
            raise UsageError(f"{part!r} is not START:SIZE, such as 524288:1048576, without ID 0")
        if any(overlap((words[0], words[1]), other) for other in ranges):
            raise UsageError(f"{part!r} has IDs that another part has")
        ranges.append((words[0], words[1]))
    return ranges


def keep_id(uid: int, gid: int, lease: Maps) -> Maps:
    """The maps that leave a user's own IDs as they are and take all others of a lease that begins at 0 inside."""
    return Maps(_keep(uid, lease.uids[0]), _keep(gid, lease.gids[0]))


def _keep(number: int, extent: Extent) -> list[Extent]:
    _, outside, size = extent
    below = min(number, size)
    parts = [(0, outside, below), (number, number, 1), (number + 1, outside + below, size - below)]
    return [part for part in parts if part[2]]
