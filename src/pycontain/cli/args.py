"""The command line's grammar: tables of verbs, flags and arguments, and the parser that the start road uses.

The tables are the only place where a flag is defined. ``parse`` reads them in a fraction of a millisecond;
``typer_app`` makes help and shell completion from the same tables; the manual pages are checked against them.

The conventions are Docker's (and POSIX's where Docker follows it): ``-itd``, ``-eK=V``, ``-e K=V``, ``--name=x``,
``--name x``, ``--`` ends the flags, a boolean takes ``=true`` or ``=false``, the last of several wins where a flag is
not repeatable. A verb that is not ``interspersed`` gives everything from the first argument on to the command that it
runs.
"""

from __future__ import annotations

from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")
    #: The value of a flag's text. Raises UsageError without the flag's name.
    Reader = Callable[[str], Any]


class HelpWanted(Exception):
    """``--help`` stands among the flags."""


# --- readers of plain values --------------------------------------------------------------------------------------

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_UNITS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_SIZE_MAX = (1 << 63) - 1
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def boolean(value: str) -> bool:
    """``--rm=false``: the spellings of Go's strconv.ParseBool, as Docker."""
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise UsageError(f"{value!r} is neither true nor false")


def text(value: str) -> str:
    """Any text."""
    return value


def plain(value: str) -> str:
    """Text that can stand in a line: not empty, no control characters."""
    if not value:
        raise UsageError("the value is empty")
    refuse_control(value)
    return value


def refuse_control(value: str) -> None:
    """Raises UsageError for control characters (C0, DEL, C1) in ``value``."""
    for char in value:
        if char < " " or "\x7f" <= char <= "\x9f":
            raise UsageError(f"{value!r} has a control character ({char!r})")


def is_number(value: str) -> bool:
    """Decimal ASCII digits, as many as fit 64 bits: int() would take signs, spaces, underscores, other scripts."""
    return value.isascii() and value.isdigit() and len(value) <= 20


def integer(low: int, high: int = (1 << 63) - 1) -> Callable[[str], int]:
    """A reader of whole numbers from ``low`` to ``high``."""

    def read(value: str) -> int:
        digits = value[1:] if value[:1] in ("-", "+") else value
        if is_number(digits) and low <= (number := int(value)) <= high:
            return number
        bounds = f"of {low} or more" if high == (1 << 63) - 1 else f"from {low} to {high}"
        raise UsageError(f"{value!r} is not a whole number {bounds}")

    return read


def decimal(value: str, places: int) -> int | None:
    """``1.25`` in units of 10**-places, what is beyond them cut off; None where it is no plain decimal."""
    whole, point, fraction = value.partition(".")
    if not is_number(whole) or (point and not (fraction.isascii() and fraction.isdigit() and len(fraction) <= 20)):
        return None
    scale: int = 10**places
    return int(whole) * scale + int((fraction + "0" * places)[:places] or "0")


def size(value: str) -> int:
    """Bytes: a number with an optional unit b, k, m, g, t (1024-based, as Docker), also written kb or KiB."""
    lower = value.lower()
    digits = lower.rstrip("bkmgti")
    unit, suffix = lower[len(digits) :][:1], lower[len(digits) + 1 :]
    known = unit in _UNITS and suffix in (("", "b", "i", "ib") if unit in "kmgt" and unit else ("",))
    number = decimal(digits, 9) if known else None
    if number is None or (number := (number << _UNITS[unit]) // 10**9) > _SIZE_MAX:
        raise UsageError(f"{value!r} is not a size: give a number with b, k, m or g, such as 512m")
    return number


def seconds(value: str) -> int:
    """Whole seconds: ``10``, ``90s``, ``5m``, ``1h``; -1 is for ever."""
    if value == "-1":
        return -1
    digits = value.rstrip("smh")
    if is_number(digits) and (unit := _SECONDS.get(value[len(digits) :])):
        number = int(digits) * unit
        if number <= 1 << 31:
            return number
    raise UsageError(f"{value!r} is not a time in whole seconds: give 10, 90s or 5m, or -1 to wait for ever")


# --- tables -------------------------------------------------------------------------------------------------------


class Flag:
    """One flag.

    names: ``-m, --memory``, all of its spellings. help: one sentence or two, shown by --help. read: makes the value of
    the text. metavar: what stands for the value in help. default: the text that is read where the flag is not given.
    repeat: may be given several times, the value is a list. choices: the only values there are.
    group: the heading under which --help shows it.
    """

    __slots__ = ("choices", "default", "group", "help", "key", "metavar", "names", "read", "repeat", "title")

    def __init__(
        self,
        names: str,
        help: str,
        read: Reader = boolean,
        metavar: str = "",
        *,
        default: str | None = None,
        repeat: bool = False,
        choices: tuple[str, ...] = (),
        group: str = "",
    ) -> None:
        self.names = names.split(", ")
        self.title = next((name for name in self.names if name.startswith("--")), self.names[0])
        self.key = self.title.lstrip("-")
        self.help = help
        self.read = text if choices else read
        self.metavar = metavar or "|".join(choices)
        self.default = default
        self.repeat = repeat
        self.choices = choices
        self.group = group

    @property
    def is_bool(self) -> bool:
        """Whether the flag stands without a value."""
        return self.read is boolean

    def convert(self, value: str) -> Any:
        """The value of ``value``. Raises UsageError that names the flag."""
        if self.choices and value not in self.choices:
            raise UsageError(f"{self.title}: {value!r} is not one of {', '.join(self.choices)}")
        try:
            return self.read(value)
        except UsageError as error:
            raise UsageError(f"{self.title}: {error.message}") from None


class Argument:
    """One argument that is no flag. many: all that are left. complete: what names it ("container", "image")."""

    __slots__ = ("complete", "help", "key", "many", "metavar", "optional", "read")

    def __init__(
        self,
        key: str,
        help: str,
        read: Reader = plain,
        metavar: str = "",
        *,
        optional: bool = False,
        many: bool = False,
        complete: str = "",
    ) -> None:
        self.key = key
        self.help = help
        self.read = read
        self.metavar = metavar or key.upper()
        self.optional = optional
        self.many = many
        self.complete = complete

    @property
    def usage(self) -> str:
        """As it stands in a usage line."""
        shown = self.metavar + ("..." if self.many else "")
        return f"[{shown}]" if self.optional else shown

    def convert(self, value: str) -> Any:
        """The value of ``value``. Raises UsageError that names the argument."""
        try:
            return self.read(value)
        except UsageError as error:
            raise UsageError(f"{self.metavar}: {error.message}") from None


class Verb:
    """One command: its table, its texts, and the function in its module that does it.

    handler: name of that function, ``(Options) -> int``. check: refuses flags that cannot be together. unknown: what is
    to be said of a flag that it does not have, "" for nothing special.
    """

    __slots__ = (
        "arguments",
        "check",
        "description",
        "epilog",
        "flags",
        "group",
        "handler",
        "interspersed",
        "name",
        "summary",
        "unknown",
    )

    def __init__(
        self,
        name: str,
        summary: str,
        flags: Sequence[Flag] = (),
        arguments: Sequence[Argument] = (),
        *,
        interspersed: bool = True,
        description: str = "",
        epilog: str = "",
        handler: str = "main",
        check: Callable[[Options], None] | None = None,
        group: str = "",
        unknown: Callable[[str], str] | None = None,
    ) -> None:
        self.name = name
        self.summary = summary
        self.flags = tuple(flags)
        self.arguments = tuple(arguments)
        self.interspersed = interspersed
        self.description = description
        self.epilog = epilog
        self.handler = handler
        self.check = check
        self.group = group
        self.unknown = unknown

    @property
    def usage(self) -> str:
        """The usage line after the program's name: ``run [OPTIONS] IMAGE [COMMAND...]``."""
        return " ".join([self.name, "[OPTIONS]", *(argument.usage for argument in self.arguments)])

    def spellings(self) -> dict[str, Flag]:
        """Every spelling of every flag."""
        return {name: flag for flag in self.flags for name in flag.names}


class Options:
    """What stood on a command line, by key: a flag's first long name without dashes, an argument's key.

    A key that the verb's table does not have is a KeyError, a method that does not fit the key's kind a TypeError:
    both are bugs of the caller.
    """

    __slots__ = ("cgroup_manager", "debug", "root", "run_root", "tenants", "values", "verb")

    def __init__(self, verb: Verb, values: dict[str, Any]) -> None:
        self.verb = verb
        self.values = values
        #: --root, --run-root, --cgroup-manager, --tenants and --debug, which stand before the verb; main sets them.
        self.cgroup_manager = ""
        self.root = "/var/lib/pycontain"
        self.run_root = "/run/pycontain"
        self.tenants = "/etc/pycontain/tenants"
        self.debug = False

    def _get(self, key: str, kind: type[T]) -> T | None:
        value = self.values[key]
        if value is None or isinstance(value, kind):
            return value
        raise TypeError(f"{self.verb.name}: {key} is {type(value).__name__}, not {kind.__name__}")

    def has(self, key: str) -> bool:
        """Whether it was given, or has a default; for a boolean whether it is true."""
        value = self.values[key]
        return value is not None and value is not False and value != []

    def flag(self, key: str) -> bool:
        """A boolean."""
        return self._get(key, bool) or False

    def text(self, key: str) -> str:
        """A text, empty where it was not given."""
        return self._get(key, str) or ""

    def number(self, key: str) -> int:
        """A number, size (bytes), time (seconds) or signal; 0 where it was not given."""
        return self._get(key, int) or 0

    def one(self, key: str, kind: type[T]) -> T | None:
        """A value of one of the classes of ``cli.values``, None where it was not given."""
        return self._get(key, kind)

    def all(self, key: str, kind: type[T]) -> list[T]:
        """The values of a repeatable flag, in their order."""
        values = self._get(key, list) or []
        for value in values:
            if not isinstance(value, kind):
                raise TypeError(f"{self.verb.name}: {key} holds {type(value).__name__}, not {kind.__name__}")
        return values

    def many(self, key: str) -> list[str]:
        """The texts of a repeatable flag or of an argument that takes all that are left, in their order."""
        return self.all(key, str)


# --- parsing ------------------------------------------------------------------------------------------------------


def parse(verb: Verb, argv: Sequence[str]) -> Options:
    """What ``argv`` (without program and verb) says. Raises UsageError, or HelpWanted for --help."""
    texts, words = _Scanner(verb, argv).scan()
    values: dict[str, Any] = {}
    for flag in verb.flags:
        given = texts.get(flag.key)
        if given is None and flag.default is not None:
            given = [flag.default]
        converted = [flag.convert(value) for value in given or ()]
        if flag.repeat:
            values[flag.key] = converted
        else:
            values[flag.key] = converted[-1] if converted else False if flag.is_bool else None
    _place(verb, words, values)
    return finish(verb, values)


def finish(verb: Verb, values: dict[str, Any]) -> Options:
    """The values of one command line as Options, checked against each other. Raises UsageError."""
    options = Options(verb, values)
    if verb.check is not None:
        verb.check(options)
    return options


def _place(verb: Verb, words: list[str], values: dict[str, Any]) -> None:
    for argument in verb.arguments:
        if not words and not argument.optional:
            raise UsageError(f"{argument.metavar} is missing: pycontain {verb.usage}")
        if argument.many:
            values[argument.key] = [argument.convert(word) for word in words]
            words = []
        else:
            values[argument.key] = argument.convert(words[0]) if words else None
            words = words[1:]
    if words:
        raise UsageError(f"{words[0]!r} is one argument too many: pycontain {verb.usage}")


class _Scanner:
    """One walk over the words: the texts of the flags by key, and what is no flag."""

    def __init__(self, verb: Verb, argv: Sequence[str]) -> None:
        self.verb = verb
        self.argv = argv
        self.at = 0
        self.spellings = verb.spellings()
        self.texts: dict[str, list[str]] = {}

    def scan(self) -> tuple[dict[str, list[str]], list[str]]:
        words: list[str] = []
        while self.at < len(self.argv):
            word = self.argv[self.at]
            if len(word) < 2 or word[0] != "-":
                if not self.verb.interspersed:
                    break
                words.append(word)
                self.at += 1
                continue
            self.at += 1
            if word == "--":
                break
            if word.startswith("--"):
                self.long(word)
            else:
                self.short(word)
        return self.texts, words + list(self.argv[self.at :])

    def long(self, word: str) -> None:
        name, equals, value = word.partition("=")
        flag = self.find(name)
        if equals:
            self.add(flag, value)
        elif flag.is_bool:
            self.add(flag, "true")
        else:
            self.add(flag, self.following(flag, name))

    def short(self, word: str) -> None:
        for index in range(1, len(word)):
            name, rest = "-" + word[index], word[index + 1 :]
            flag = self.find(name)
            if rest.startswith("="):
                return self.add(flag, rest[1:])
            if not flag.is_bool:
                return self.add(flag, rest or self.following(flag, name))
            self.add(flag, "true")
        return None

    def find(self, name: str) -> Flag:
        flag = self.spellings.get(name)
        if flag is not None:
            return flag
        if name in ("--help", "-h"):
            raise HelpWanted
        if self.verb.unknown is not None and (reason := self.verb.unknown(name)):
            raise UsageError(f"{name}: {reason}")
        from pycontain.cli.suggest import suggestion

        raise UsageError(f"unknown flag {name}{suggestion(name, [*self.spellings, '--help'])}")

    def following(self, flag: Flag, name: str) -> str:
        if self.at == len(self.argv):
            hint = " (for help: --help)" if name == "-h" else ""
            raise UsageError(f"{name} needs a value: {name} {flag.metavar}{hint}")
        self.at += 1
        return self.argv[self.at - 1]

    def add(self, flag: Flag, value: str) -> None:
        self.texts.setdefault(flag.key, []).append(value)
