"""``pycontain``: the flags before the verb, the verb, its errors and its exit status."""

from __future__ import annotations

import gc
import os
import sys

from pycontain.cli import verbs
from pycontain.cli.args import Argument, Flag, HelpWanted, Options, Verb, parse, plain, text
from pycontain.kernel import inherited, rootless
from pycontain.kernel.errors import EXIT_FAILURE, Error, UsageError, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

#: 128 and the number of the signal that would have ended a program that does not catch it (SIGINT, SIGPIPE).
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

#: Set by the shell's completion script, see typer_app.
COMPLETE = "_PYCONTAIN_COMPLETE"
#: Verbs that become the helper in a few milliseconds; for them the garbage collector stays off, as find.c has left it.
_START = ("run", "create", "exec", "start", "attach")
_COMPLETION_FLAGS = ("--install-completion", "--show-completion")


def directory(value: str) -> str:
    """A directory of the host, made absolute."""
    return os.path.abspath(plain(value))


GLOBAL = Verb(
    "",
    "OS-level containers for Linux",
    (
        Flag(
            "--root",
            "Where containers and images are kept (default: PYCONTAIN_ROOT, else /var/lib/pycontain, for a user who is"
            " not root ~/.local/share/pycontain).",
            directory,
            "DIR",
        ),
        Flag(
            "--run-root",
            "Where the state of running containers is kept (default: PYCONTAIN_RUN_ROOT, else /run/pycontain, for a"
            " user who is not root XDG_RUNTIME_DIR/pycontain).",
            directory,
            "DIR",
        ),
        Flag(
            "--cgroup-manager",
            "Who makes the cgroups of new containers: cgroupfs, pycontain itself; systemd, as scopes (default: of the"
            " configuration file, else cgroupfs).",
            choices=("cgroupfs", "systemd"),
        ),
        Flag(
            "--tenants",
            "Where the settings of tenants are kept (default: PYCONTAIN_TENANTS, else /etc/pycontain/tenants).",
            directory,
            "DIR",
        ),
        Flag("--debug", "Show with an error where in pycontain it arose."),
        Flag("--version", "Show the version and end."),
    ),
    (Argument("command", "What to do.", text, optional=True, many=True),),
    interspersed=False,
    description="OS-level containers for Linux: processes in namespaces and cgroups of their own, with a root"
    " file system from an image.",
)


def main(argv: Sequence[str]) -> int:
    """Do what ``argv`` (without the program's name) says, print errors, give the exit status."""
    call = Call()
    try:
        status = call.run(argv)
        flush()
        return status
    except Error as error:
        return call.report(error)
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        _flush_quietly()
        return EXIT_INTERRUPTED
    except MemoryError:
        return call.report(Error("out of memory"))
    except RecursionError:
        return call.report(Error("something that was read is nested too deeply"))
    except Exception:
        return call.bug()


def run() -> NoReturn:
    """As the program: ends the process without the interpreter's finalisation, which costs 1.5 ms."""
    inherited.settle()
    os._exit(main(sys.argv[1:]))


class Call:
    """One command line: what is known of it when an error comes."""

    def __init__(self) -> None:
        #: The command as it was typed, for "Try".
        self.command = ""
        self.debug = False

    def run(self, argv: Sequence[str]) -> int:
        if COMPLETE in os.environ or (argv and argv[0].partition("=")[0] in _COMPLETION_FLAGS):
            return self.typer(argv)
        try:
            top = parse(GLOBAL, argv)
            self.debug = top.flag("debug")
            if top.flag("version"):
                return self.version()
            return self.verb(top, top.many("command"))
        except HelpWanted:
            return self.typer([*self.command.split(), "--help"])

    def verb(self, top: Options, words: list[str]) -> int:
        if words[:1] == ["help"]:
            words = words[1:]
            if words:
                self.find(words)
            raise HelpWanted
        if not words:
            raise HelpWanted
        rest = self.find(words)
        if self.command not in _START:
            gc.enable()
        options = parse(verbs.load(self.command), rest)
        if rootless.user() >= 0:
            options.root, options.run_root = rootless.home(), rootless.run_directory()
            if self.command != "info" and (problem := rootless.problem()):
                raise Error(problem)
        options.root = top.text("root") or _from_environment("PYCONTAIN_ROOT") or options.root
        options.run_root = top.text("run-root") or _from_environment("PYCONTAIN_RUN_ROOT") or options.run_root
        options.cgroup_manager = top.text("cgroup-manager")
        options.tenants = top.text("tenants") or _from_environment("PYCONTAIN_TENANTS") or options.tenants
        options.debug = self.debug
        return verbs.handler(self.command)(options)

    def find(self, words: list[str]) -> list[str]:
        """Set the command that ``words`` begin with, give the rest. Raises UsageError, HelpWanted for a group."""
        first = words[0]
        if first in verbs.GROUPS:
            self.command = first
            if len(words) < 2 or words[1] in ("--help", "-h"):
                raise HelpWanted
            words = [f"{first} {words[1]}", *words[2:]]
        word = words[0]
        if word not in verbs.COMMANDS and word not in verbs.ALIASES:
            from pycontain.cli.suggest import suggestion

            known = [*verbs.COMMANDS, *verbs.ALIASES, *verbs.GROUPS, "help"]
            raise UsageError(f"{word!r} is not a pycontain command{suggestion(word, known)}")
        self.command = word
        return words[1:]

    def typer(self, argv: Sequence[str]) -> int:
        from pycontain.cli import typer_app

        return typer_app.run(argv)

    def version(self) -> int:
        from pycontain import __version__

        print(f"pycontain {__version__}")
        return 0

    def report(self, error: Error) -> int:
        """Print an error as one line, after what was printed before; the exit status."""
        _flush_quietly()
        lines = f"pycontain: {one_line(error.message)}\n"
        if isinstance(error, UsageError):
            lines += f"Try '{' '.join(['pycontain', *self.command.split(), '--help'])}'\n"
        if self.debug:
            sys.excepthook(type(error), error, error.__traceback__)
        _complain(lines)
        return error.status

    def bug(self) -> int:
        """Print the exception that is being handled, which nobody expected; the exit status."""
        _flush_quietly()
        kind, error, traceback = sys.exc_info()
        if kind is not None and error is not None:
            sys.excepthook(kind, error, traceback)
        _complain("pycontain: this is a bug in pycontain: please report it with the lines above\n")
        return EXIT_FAILURE


def _from_environment(variable: str) -> str:
    value = os.environ.get(variable)
    try:
        return directory(value) if value else ""
    except UsageError as error:
        raise UsageError(f"{variable}: {error.message}") from None


def one_line(message: str) -> str:
    """``message`` with characters that are no text as escapes: it is one line, whatever a name in it holds."""
    if message.isprintable():
        return message
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in message)


def flush() -> None:
    """Write out what was printed. Raises BrokenPipeError; Error where it cannot be written."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Error(f"cannot write to standard output: {os_text(error)}") from None


def _flush_quietly() -> None:
    try:
        flush()
    except (Error, BrokenPipeError):
        pass  # an error is on its way already


def _complain(lines: str) -> None:
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.write(2, lines.encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # nobody reads it


if __name__ == "__main__":
    run()
