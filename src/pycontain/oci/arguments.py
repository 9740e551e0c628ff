"""runc's command line: global options, a verb, its options before and after the container's ID."""

from __future__ import annotations

from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Call:
    """One command line. options: long names → values ("" for a flag that was given). words: all that is no option."""

    __slots__ = ("globals", "options", "verb", "words")

    def __init__(self, verb: str, options: dict[str, str], words: list[str]) -> None:
        #: The options before the verb.
        self.globals: dict[str, str] = {}
        self.verb = verb
        self.options = options
        self.words = words

    def text(self, name: str, default: str = "") -> str:
        return self.options.get(name, default)

    def flag(self, name: str) -> bool:
        return self.options.get(name, "false") in ("", "true", "1")

    def id(self) -> str:
        """The one word that the verb needs. Raises UsageError."""
        if len(self.words) != 1:
            raise UsageError(f"{self.verb}: exactly one container ID is needed, {len(self.words)} were given")
        return check_id(self.words[0])


_ID = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


def check_id(text: str) -> str:
    """A container ID as runc takes it. Raises UsageError."""
    if not text or not _ID.issuperset(text) or text in (".", "..") or text.startswith(".") or len(text) > 1024:
        raise UsageError(f"{text!r} is not a container ID: letters, digits and _+-. without a leading dot")
    return text


#: Options with a value; short → long.
GLOBAL_VALUES = {"root", "log", "log-format", "rootless", "cgroup-manager", "missing-controllers"}
GLOBAL_FLAGS = {"debug", "systemd-cgroup", "version", "help"}
SHORT = {
    "a": "all",
    "b": "bundle",
    "d": "detach",
    "f": "force",
    "h": "help",
    "q": "quiet",
    "r": "resources",
    "v": "version",
}


def parse(argv: Sequence[str], verbs: dict[str, tuple[set[str], set[str]]]) -> tuple[dict[str, str], Call]:
    """Global options, and the call. verbs: name → (options with a value, flags). Raises UsageError."""
    globals_: dict[str, str] = {}
    at = 0
    while at < len(argv) and argv[at].startswith("-"):
        at = _option(argv, at, GLOBAL_VALUES, GLOBAL_FLAGS, globals_, "")
    if at == len(argv):
        return globals_, Call("", {}, [])
    verb = argv[at]
    if verb not in verbs:
        raise UsageError(f"{verb!r} is not a verb of pycontain-oci: it has {', '.join(verbs)}")
    values, flags = verbs[verb]
    options: dict[str, str] = {}
    words: list[str] = []
    at += 1
    while at < len(argv):
        if argv[at] == "--":
            words += argv[at + 1 :]
            break
        if argv[at].startswith("-") and argv[at] != "-" and not argv[at][1:].isdigit():
            at = _option(argv, at, values, flags | {"help"}, options, verb)
        else:
            words.append(argv[at])
            at += 1
    call = Call(verb, options, words)
    call.globals = globals_
    return globals_, call


def _option(argv: Sequence[str], at: int, values: set[str], flags: set[str], into: dict[str, str], verb: str) -> int:
    """Read the option at ``at``; where the next argument is."""
    name, equals, value = argv[at].lstrip("-").partition("=")
    if not argv[at].startswith("--"):
        name = SHORT.get(name, name)
    if name in flags:
        if equals and value not in ("true", "false"):
            raise UsageError(f"{verb}: --{name}: {value!r} is neither true nor false".lstrip(": "))
        into[name] = value
        return at + 1
    if name not in values:
        raise UsageError(f"{verb}: unknown option {argv[at]}".lstrip(": "))
    if equals:
        into[name] = value
        return at + 1
    if at + 1 >= len(argv):
        raise UsageError(f"{verb}: {argv[at]} needs a value".lstrip(": "))
    into[name] = argv[at + 1]
    return at + 2
