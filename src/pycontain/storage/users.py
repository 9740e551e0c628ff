"""Who ``-u NAME|UID[:GROUP|GID]`` is, by an image's /etc/passwd and /etc/group.

The meaning is Docker's: a number is always an ID, the first matching line wins, a group given by hand replaces the
supplementary groups, a UID without an entry gets group 0 and home "/". Numbers are read strictly: a text that is
nearly a number never becomes UID 0 (CVE-2026-30892, CVE-2024-40635).
"""

from __future__ import annotations

from pycontain.kernel.errors import Error, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: (uid_t)-1 means "no change" to the kernel (setresuid(2)), so it is no ID.
MAX_ID = 2**32 - 2


class User:
    """Numeric identity of a process: ``uid``, ``gid``, supplementary ``groups``, ``home``, ``name`` ("" if none)."""

    __slots__ = ("gid", "groups", "home", "name", "uid")

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...] = (), home: str = "/", name: str = "") -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, User) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"User(uid={self.uid}, gid={self.gid}, groups={self.groups}, home={self.home!r}, name={self.name!r})"

    def _key(self) -> tuple[object, ...]:
        return (self.uid, self.gid, self.groups, self.home, self.name)


def parse_id(text: str) -> int | None:
    """A user or group ID, None where ``text`` is no ID: ASCII digits only, 0 to 2**32-2."""
    if not (text.isascii() and text.isdigit()) or len(text.lstrip("0")) > 10:
        return None
    number = int(text)
    return number if number <= MAX_ID else None


def resolve_user(text: str, passwd: bytes | None, group: bytes | None) -> User:
    """The user that ``text`` names; "" is UID 0.

    passwd, group: content of /etc/passwd and /etc/group as the guest would see them (passwd(5), group(5)), None where
    there is no such file. Malformed lines are ignored. Raises UsageError for a text that cannot be a user, Error where
    a name has no entry.
    """
    user_text, colon, group_text = text.partition(":")
    _check(text, user_text, "user")
    if colon and not (user_text and group_text):
        # Docker reads ":5" as root with group 5: more likely it is a variable that was not set.
        raise UsageError(f"user {text!r}: nothing on one side of the colon: give NAME|UID[:GROUP|GID]")
    _check(text, group_text, "group")
    user = _find_user(user_text, passwd)
    if group_text:
        user.gid = _find_group(group_text, group)
    elif user.name:
        user.groups = tuple(gid for name, gid, members in _groups(group) if user.name in members)
    return user


def _check(text: str, part: str, kind: str) -> None:
    """Refuse what is no name and would be a wrong number."""
    if any(char <= " " or char in "\x7f:/" for char in part):
        raise UsageError(f"user {text!r}: not a {kind}: give NAME|UID[:GROUP|GID]")
    if part[:1] in ("+", "-"):
        raise UsageError(f"user {text!r}: a {kind} cannot begin with {part[0]!r}: give NAME|UID[:GROUP|GID]")
    if part.isascii() and part.isdigit() and parse_id(part) is None:
        raise UsageError(f"user {text!r}: {kind} ID {part} is out of range: 0 to {MAX_ID}")


def _find_user(text: str, passwd: bytes | None) -> User:
    number = parse_id(text) if text else 0
    for name, uid, gid, home in _users(passwd):
        if uid == number if number is not None else name == text:
            return User(uid, gid, (), home, name)
    if number is None:
        hint = "" if passwd is not None else " (the image has none: give a numeric UID)"
        raise Error(f"unable to find user {text}: no matching entries in passwd file{hint}")
    return User(number, 0)


def _find_group(text: str, group: bytes | None) -> int:
    number = parse_id(text)
    if number is not None:
        return number
    for name, gid, _ in _groups(group):
        if name == text:
            return gid
    hint = "" if group is not None else " (the image has none: give a numeric GID)"
    raise Error(f"unable to find group {text}: no matching entries in group file{hint}")


def _lines(data: bytes | None, fields: int) -> Iterator[list[str]]:
    """The lines that have exactly ``fields`` fields and a name; +NAME and -NAME are NIS, not users."""
    for line in (data or b"").decode("utf-8", "surrogateescape").split("\n"):
        parts = line.split(":")
        if len(parts) == fields and parts[0] and parts[0][0] not in "+-#":
            yield parts


def _users(passwd: bytes | None) -> Iterator[tuple[str, int, int, str]]:
    for name, _, uid_text, gid_text, _, home, _ in _lines(passwd, 7):
        uid, gid = parse_id(uid_text), parse_id(gid_text)
        if uid is not None and gid is not None:
            yield name, uid, gid, _home(home)


def _groups(group: bytes | None) -> Iterator[tuple[str, int, list[str]]]:
    for name, _, gid_text, members in _lines(group, 4):
        gid = parse_id(gid_text)
        if gid is not None:
            yield name, gid, members.strip().split(",")


def _home(text: str) -> str:
    """A home that can go into HOME: absolute, without control characters (CVE-2022-4318)."""
    good = text.startswith("/") and not any(char < " " or char == "\x7f" for char in text)
    return text if good else "/"
