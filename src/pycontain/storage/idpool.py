"""Ranges of user and group IDs: which there are, and which container has which.

One symbolic link a slot of 65 536 IDs under ROOT/ids: UID-GID -> container ID, the first IDs of the slot on the host. A
link is there with its owner or not at all, so a process that is killed leaves no range of nobody: repair knows its
container. The links are below --root, beside the containers: a range is the container's until it is removed.

The pool is the configuration file's ``id_pool``, else what /etc/subuid and /etc/subgid give to ``id_user``, else IDs
above those that useradd(8) gives out and below 0x70000000, in the part that systemd leaves to containers.
"""

from __future__ import annotations

import os

from pycontain.kernel import files
from pycontain.kernel.errors import Error, UsageError, os_text
from pycontain.kernel.idmap import Maps, overlap, parse_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontain.kernel.idmap import Range

SLOT = 65536
#: 16 384 slots: 0x30000000 to 0x6FFFFFFF.
DEFAULT = (0x30000000, 0x40000000)
SUBUID, SUBGID = "/etc/subuid", "/etc/subgid"
#: So many slots are tried one after the other before the directory is listed.
_TRIES = 64


class Pool:
    """Slots to choose from. parts: (first uid, first gid, number of slots). source: where they are written down."""

    __slots__ = ("parts", "source")

    def __init__(self, parts: list[tuple[int, int, int]], source: str) -> None:
        self.parts = parts
        self.source = source

    @property
    def size(self) -> int:
        """How many slots there are."""
        return sum(count for _, _, count in self.parts)

    def slot(self, index: int) -> tuple[int, int, int]:
        """First uid and gid of a slot, and how many slots follow it without a gap, itself counted."""
        for uid, gid, count in self.parts:
            if index < count:
                return uid + index * SLOT, gid + index * SLOT, count - index
            index -= count
        raise IndexError(index)

    def has(self, uid: int, gid: int) -> bool:
        """Whether these are the first IDs of a slot."""
        return any(
            uid - first == gid - first_gid and 0 <= uid - first < count * SLOT and (uid - first) % SLOT == 0
            for first, first_gid, count in self.parts
        )

    def ranges(self) -> list[Range]:
        """All IDs of the pool, those of users and groups alike."""
        return [part for uid, gid, count in self.parts for part in ((uid, count * SLOT), (gid, count * SLOT))]

    def __str__(self) -> str:
        return ",".join([f"{uid}:{gid}:{count}" for uid, gid, count in self.parts])


def _parts(uids: list[Range], gids: list[Range]) -> list[tuple[int, int, int]]:
    """Slots of ranges that belong together by their order."""
    parts = [(uid, gid, min(size, other) // SLOT) for (uid, size), (gid, other) in zip(uids, gids, strict=False)]
    return [part for part in parts if part[2]]


def find(settings: dict[str, str], etc: tuple[str, str] = (SUBUID, SUBGID)) -> Pool:
    """The pool of this host. Raises Error where what it is to be made of has no slot."""
    if settings["id_pool"]:
        ranges = parse_ranges(settings["id_pool"])
        return _checked(Pool(_parts(ranges, ranges), "id_pool of the configuration file"))
    user = settings["id_user"]
    owners = [_subordinate(path) for path in etc]
    uids, gids = ([part for name, part in entries if name == user] for entries in owners)
    if uids or gids:
        return _checked(Pool(_parts(uids, gids), f"the entries of {user} in {' and '.join(etc)}"))
    others = [part for entries in owners for _, part in entries]
    return Pool(_without(DEFAULT, others), "pycontain's own default")


def _checked(pool: Pool) -> Pool:
    if not pool.parts:
        raise Error(f"{pool.source}: there is no range of {SLOT} user and group IDs: give more of them")
    return pool


def _subordinate(path: str) -> list[tuple[str, Range]]:
    """The entries of a subuid(5) file: user and range; what is malformed is nobody's."""
    try:
        text = files.read_text(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Error(f"{path}: {os_text(error)}") from None
    found = []
    for line in text.splitlines():
        name, _, rest = line.strip().partition(":")
        try:
            found += [(name, part) for part in parse_ranges(rest)]
        except UsageError:
            continue
    return found


def _without(whole: Range, taken: list[Range]) -> list[tuple[int, int, int]]:
    """The slots of a range that nobody else has been given."""
    parts: list[tuple[int, int, int]] = []
    at, end = whole[0], whole[0] + whole[1]
    for first, size in sorted(part for part in taken if overlap(part, whole)):
        if first > at:
            parts.append((at, at, (first - at) // SLOT))
        if first + size > at:
            at += -(-(first + size - at) // SLOT) * SLOT
    if at < end:
        parts.append((at, at, (end - at) // SLOT))
    return [part for part in parts if part[2]]


# --- leases -------------------------------------------------------------------------------------------------------


class _Lock:
    """While it is held (a context manager) nobody else takes a range. Its file says which slot was given out last."""

    __slots__ = ("directory", "fd")

    def __init__(self, root: str) -> None:
        import fcntl

        self.directory = f"{root}/ids"
        path = f"{self.directory}/next"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            try:
                self.fd = os.open(path, flags, 0o600)
            except FileNotFoundError:
                os.makedirs(self.directory, 0o700, exist_ok=True)
                self.fd = os.open(path, flags, 0o600)
            fcntl.flock(self.fd, fcntl.LOCK_EX)
        except OSError as error:
            raise Error(f"cannot lock {path}: {os_text(error)}") from None

    def __enter__(self) -> _Lock:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def hint(self) -> tuple[int, str]:
        """The slot that was given out last, and of which pool."""
        number, _, pool = os.pread(self.fd, 65536, 0).decode("ascii", "replace").rstrip("\n").partition(" ")
        return (int(number), pool) if number.isascii() and number.isdigit() else (-1, "")

    def set_hint(self, index: int, pool: str) -> None:
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{index} {pool}\n".encode(), 0)


def acquire(
    root: str, pool: Pool, container_id: str, size: int = SLOT, gone: Callable[[str], bool] | None = None
) -> tuple[Maps, list[str]]:
    """Take a range for a container; its maps, and the names of its links. size: how many IDs.

    gone: says whether a container is no more; where no range is left such a one loses its own. Raises Error where there
    is none, or the links cannot be written; then nothing was taken.
    """
    count = -(-size // SLOT)
    with _Lock(root) as lock:
        try:
            index = _take(lock, pool, container_id, count)
            if index < 0 and gone is not None and _reclaim(lock, gone):
                index = _take(lock, pool, container_id, count)
        except OSError as error:
            release(root, container_id)
            raise Error(f"cannot write a lease of IDs in {lock.directory}: {os_text(error)}") from None
        used = len(_listed(lock.directory)) if index < 0 else 0
    if index < 0:
        what = f"no {count} free ranges of {SLOT} IDs in a row" if count > 1 else f"no range of {SLOT} IDs is free"
        raise Error(
            f"{what}: {used} of {pool.size} are taken ({pool.source}): remove containers, give a larger id_pool in the"
            " configuration file, or use --userns host"
        )
    uid, gid, _ = pool.slot(index)
    return Maps([(0, uid, size)], [(0, gid, size)]), [_name(uid + n * SLOT, gid + n * SLOT) for n in range(count)]


def _name(uid: int, gid: int) -> str:
    return f"{uid}-{gid}"


def _take(lock: _Lock, pool: Pool, container_id: str, count: int) -> int:
    """The index of the first of so many slots, which are the container's now; -1 where there are none."""
    last, known = lock.hint()
    same = known == str(pool)
    start = (last + 1) % pool.size if same else 0
    if same and count == 1:
        # all leases are slots of this pool: a link that can be made is a slot that is free
        for step in range(min(pool.size, _TRIES)):
            index = (start + step) % pool.size
            if _link(lock, pool, index, container_id):
                lock.set_hint(index, known)
                return index
    taken = _listed(lock.directory)
    index = _search(pool, taken, start, count)
    if index < 0:
        return -1
    for number in range(count):
        if not _link(lock, pool, index + number, container_id):
            raise FileExistsError(17, os.strerror(17))
    if all(pool.has(*lease) for lease in taken):
        lock.set_hint(index + count - 1, str(pool))
    else:
        lock.set_hint(0, "")  # leases lie across the slots of any pool: a free link alone says nothing
    return index


def _search(pool: Pool, taken: list[tuple[int, int]], start: int, count: int) -> int:
    """The first index from ``start`` on where ``count`` slots in a row share no ID with a lease, of whatever pool."""
    whole = {lease for lease in taken if pool.has(*lease)}
    odd = [lease for lease in taken if lease not in whole]

    def free(uid: int, gid: int) -> bool:
        return (uid, gid) not in whole and not any(
            abs(uid - other) < SLOT or abs(gid - other_gid) < SLOT for other, other_gid in odd
        )

    for step in range(pool.size):
        index = (start + step) % pool.size
        uid, gid, room = pool.slot(index)
        if room >= count and all(free(uid + n * SLOT, gid + n * SLOT) for n in range(count)):
            return index
    return -1


def _link(lock: _Lock, pool: Pool, index: int, container_id: str) -> bool:
    uid, gid, _ = pool.slot(index)
    try:
        os.symlink(container_id, f"{lock.directory}/{_name(uid, gid)}")
    except FileExistsError:
        return False
    return True


def _reclaim(lock: _Lock, gone: Callable[[str], bool]) -> bool:
    """Whether a range was given back whose container is no more."""
    found = False
    for lease, owner in _owners(lock.directory).items():
        if gone(owner):
            _unlink(f"{lock.directory}/{lease}")
            found = True
    return found


def _listed(directory: str) -> list[tuple[int, int]]:
    """First uid and gid of every lease."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    pairs = [name.partition("-") for name in names]
    return [(int(uid), int(gid)) for uid, _, gid in pairs if uid.isdigit() and gid.isdigit()]


def _owners(directory: str) -> dict[str, str]:
    """Link → container ID."""
    found = {}
    for pair in _listed(directory):
        name = _name(*pair)
        try:
            found[name] = os.readlink(f"{directory}/{name}")
        except OSError:
            continue
    return found


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def leases(root: str) -> dict[str, str]:
    """Every lease, UID-GID → container ID."""
    return _owners(f"{root}/ids")


def path(root: str, lease: str) -> str:
    """The link whose removal gives a slot back."""
    return f"{root}/ids/{lease}"


def release(root: str, container_id: str, known: list[str] | None = None) -> None:
    """Give back all that a container has; none is no error. known: its links, where somebody knows them all."""
    if known is None:
        known = [lease for lease, owner in leases(root).items() if owner == container_id]
    for lease in known:
        try:
            if os.readlink(path(root, lease)) == container_id:
                _unlink(path(root, lease))
        except OSError:
            continue  # given back already
