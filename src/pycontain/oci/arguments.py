"""runc's command line: global options, a verb, its options before and after the container's ID."""

from __future__ import annotations

from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pycontain.oci.options import Verb


class Call:
    """One command line. options: long names → their last values ("" for a flag). words: all that is no option."""

    __slots__ = ("given", "globals", "options", "verb", "words")

    def __init__(self, verb: str) -> None:
        #: The options before the verb.
        self.globals: dict[str, str] = {}
        self.verb = verb
        self.options: dict[str, str] = {}
        #: Every option with its value, in the order of the command line.
        self.given: list[tuple[str, str]] = []
        self.words: list[str] = []

    def text(self, name: str, default: str = "") -> str:
        return self.options.get(name, default)

    def flag(self, name: str) -> bool:
        return is_true(self.options.get(name, "false"))

    def every(self, name: str) -> list[str]:
        """All values of an option that may be repeated."""
        return [value for key, value in self.given if key == name]

    def number(self, name: str) -> int:
        """A number of at least 0, 0 where it is not given. Raises UsageError."""
        text = self.text(name) or "0"
        if not (text.isascii() and text.isdigit()) or len(text) > 9:
            raise UsageError(f"{self.verb}: --{name}: {text!r} is not a number")
        return int(text)

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


#: What Go's flag package takes for a flag's value.
_TRUE = ("", "1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def is_true(value: str) -> bool:
    return value in _TRUE


def parse(argv: Sequence[str], general: Verb, verbs: Mapping[str, Verb]) -> Call:
    """The call; general: the options before the verb. Its verb is "" where there is none. Raises UsageError."""
    before = _Reader(argv, 0, "", general)
    while before.is_option():
        before.option()
    at = before.at
    if at == len(argv):
        call = Call("")
    else:
        name = argv[at]
        if name not in verbs:
            raise UsageError(f"{name!r} is not a verb of pycontain-oci: it has {', '.join(verbs)}")
        call = _verb(_Reader(argv, at + 1, name, verbs[name]))
    call.globals = dict(before.given)
    return call


def _verb(reader: _Reader) -> Call:
    call = Call(reader.verb)
    argv = reader.argv
    while reader.at < len(argv):
        if argv[reader.at] == "--":
            call.words += argv[reader.at + 1 :]
            break
        if reader.is_option():
            reader.option()
            continue
        call.words.append(argv[reader.at])
        reader.at += 1
        if reader.table.in_order:
            call.words += argv[reader.at :]
            break
    call.given = reader.given
    call.options = dict(reader.given)
    return call


class _Reader:
    """Options one after the other; at: where the next argument is."""

    __slots__ = ("argv", "at", "given", "table", "verb")

    def __init__(self, argv: Sequence[str], at: int, verb: str, table: Verb) -> None:
        self.argv = argv
        self.at = at
        self.verb = verb
        self.table = table
        self.given: list[tuple[str, str]] = []

    def is_option(self) -> bool:
        """Also ``kill ID -9`` has none: what begins like a number is a word."""
        text = self.argv[self.at] if self.at < len(self.argv) else ""
        return text.startswith("-") and text not in ("-", "--") and not text[1:].isdigit()

    def option(self) -> None:
        text = self.argv[self.at]
        self.at += 1
        name, equals, value = text.lstrip("-").partition("=")
        if text.startswith("--") or name in self.table.values or name in self.table.flags:
            self._long(text, name, value if equals else None)
        else:
            self._letters(text)

    def _fail(self, problem: str) -> UsageError:
        return UsageError(f"{self.verb}: {problem}".lstrip(": "))

    def _long(self, text: str, name: str, value: str | None) -> None:
        if name in self.table.flags:
            self._flag(name, value or "")
        elif name in self.table.values:
            self.given.append((name, self._value(text) if value is None else value))
        else:
            raise self._fail(f"unknown option {text}")

    def _flag(self, name: str, value: str) -> None:
        if value not in _TRUE and value not in _FALSE:
            raise self._fail(f"--{name}: {value!r} is neither true nor false")
        self.given.append((name, value))

    def _value(self, text: str) -> str:
        if self.at >= len(self.argv):
            raise self._fail(f"flag needs an argument: {text}")  # podman looks for the words
        self.at += 1
        return self.argv[self.at - 1]

    def _letters(self, text: str) -> None:
        """``-dt``, ``-u1:2``, ``-u=1:2``, ``-u 1:2``."""
        rest = text[1:]
        while rest:
            name = self.table.short.get(rest[0])
            rest = rest[1:]
            if name is None:
                raise self._fail(f"unknown option {text}")
            if name in self.table.values:
                self.given.append((name, rest.removeprefix("=") if rest else self._value(text)))
                return
            if rest.startswith("="):
                self._flag(name, rest[1:])
                return
            self._flag(name, "")
