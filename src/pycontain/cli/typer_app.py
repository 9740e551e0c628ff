"""Help and shell completion by typer, from the same tables as ``args.parse``.

typer costs a hundred times what ``args.parse`` does, so it comes in where people wait for people: ``--help``, ``help``,
completion. It can parse as well, with the same outcome as ``args.parse`` (tests/unit/test_cli_parsers.py): so what
completion and help say of flags is what pycontain does.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

from pycontain.cli import args, complete, verbs
from pycontain.cli.args import Argument, Flag, Options, Verb
from pycontain.cli.main import GLOBAL
from pycontain.kernel.errors import Error, UsageError


def _import_typer() -> Any:
    try:
        import typer
        import typer.core
        import typer.main
    except ImportError:
        # The interpreter was started without its site-packages (-S).
        import site

        site.main()
        try:
            import typer
            import typer.core
            import typer.main
        except ImportError:
            raise Error("help and completion need the Python package typer: install it, or read pycontain(1)") from None
    return typer


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import typer
    import typer.core
    import typer.main
else:
    typer = _import_typer()

PROGRAM = "pycontain"


# --- running it ---------------------------------------------------------------------------------------------------


def run(argv: Sequence[str]) -> int:
    """``--help`` of anything, ``--show-completion``, or the completion that the environment asks for; exit status."""
    rich = sys.stdout is not None and sys.stdout.isatty()
    try:
        status = command(rich).main(args=list(argv), prog_name=PROGRAM, standalone_mode=False)
    except SystemExit as end:  # completion ends so
        status = end.code
    except Exception as error:
        raise _usage_error(error) from error
    return status if isinstance(status, int) else 0


def parse(words: str, argv: Sequence[str]) -> Options:
    """As args.parse for the command ``words`` (a key of verbs.COMMANDS), by typer. Raises UsageError, HelpWanted."""
    try:
        options = command().main(args=[*words.split(), *argv], prog_name=PROGRAM, standalone_mode=False)
    except Exception as error:
        raise _usage_error(error) from error
    if not isinstance(options, Options):
        raise args.HelpWanted
    return options


def _usage_error(error: Exception) -> Exception:
    # The exceptions' base class is click's or, since 0.20 or so, a private one of typer's: know them by their method.
    message = getattr(error, "format_message", None)
    return error if message is None else UsageError(message())


@functools.cache
def command(rich: bool = False) -> Any:
    """The app as click runs it; ``rich``: help in colours and boxes, for a terminal."""
    return typer.main.get_command(build(rich))


# --- building it --------------------------------------------------------------------------------------------------


def build(rich: bool) -> typer.Typer:
    """The app: every verb as a command, from its table."""
    app = _group(GLOBAL.description, rich, add_completion=True)
    app.callback()(_function(GLOBAL.flags, (), lambda values: None))
    groups = {name: _group(summary, rich, add_completion=False) for name, summary in verbs.GROUPS.items()}
    for words in [*verbs.COMMANDS, *verbs.ALIASES]:
        first, _, second = words.rpartition(" ")
        _add(groups.get(first, app), bool(first), second, verbs.load(words), rich, words in verbs.ALIASES)
    for name, group in groups.items():
        app.add_typer(group, name=name, rich_help_panel=_GROUP_PANEL)
    return app


_GROUP_PANEL = "Groups of commands"
_ALIAS_PANEL = "Short names"


def _group(help: str, rich: bool, add_completion: bool) -> typer.Typer:
    return typer.Typer(
        cls=Group,
        help=_escape(help, rich),
        add_completion=add_completion,
        no_args_is_help=True,
        rich_markup_mode="rich" if rich else None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _add(app: typer.Typer, grouped: bool, name: str, verb: Verb, rich: bool, alias: bool) -> None:
    examples = [line for line in verb.epilog.splitlines() if line]
    spelled = verb.spellings()
    summary = f"{verb.summary} ({verb.name})" if alias and not grouped else verb.summary
    app.command(
        name,
        cls=type("DockerCommand", (DockerCommand,), {"verb": verb}),
        help=_escape(verb.description or verb.summary + ".", rich),
        short_help=_escape(summary, rich),
        epilog=_escape("\n\n".join(["Examples:", *examples]), rich) if examples else None,
        context_settings={
            "help_option_names": ["--help"] if "-h" in spelled else ["-h", "--help"],
            "allow_interspersed_args": verb.interspersed,
        },
        hidden=alias and grouped and name not in (verb.name, "ls"),
        rich_help_panel=_ALIAS_PANEL if alias and not grouped else None,
    )(_function(verb.flags, verb.arguments, lambda values: args.finish(verb, values), rich))


def _escape(text: str, rich: bool) -> str:
    if not rich:
        return text
    from rich.markup import escape

    return escape(text)


def _function(
    flags: Sequence[Flag], arguments: Sequence[Argument], finish: Callable[[dict[str, Any]], Any], rich: bool = False
) -> Callable[..., Any]:
    """A function with a parameter for each flag and argument, as typer wants to see one."""
    keys = {_identifier(key): key for key in [flag.key for flag in flags] + [one.key for one in arguments]}

    def call(**values: Any) -> Any:
        return finish({keys[name]: value for name, value in values.items()})

    parameters = [_option(flag, rich) for flag in flags] + [_argument(one, rich) for one in arguments]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _identifier(key: str) -> str:
    return key.replace("-", "_") + "_"


def _option(flag: Flag, rich: bool) -> inspect.Parameter:
    common: dict[str, Any] = {"help": _escape(flag.help, rich), "rich_help_panel": flag.group or None}
    if flag.is_bool:
        default: Any = flag.default == "true"
        annotation: Any = Annotated[bool, typer.Option(*flag.names, show_default=False, **common)]
    else:
        default = [flag.default] if flag.repeat and flag.default is not None else flag.default
        option = typer.Option(
            *flag.names,
            metavar=flag.metavar,
            parser=flag.convert,
            show_default=default is not None,
            autocompletion=(lambda: list(flag.choices)) if flag.choices else None,
            **common,
        )
        annotation = Annotated[list[str], option] if flag.repeat else Annotated[str, option]
    return _parameter(flag.key, default, annotation)


def _argument(argument: Argument, rich: bool) -> inspect.Parameter:
    option = typer.Argument(
        metavar=argument.metavar,
        help=_escape(argument.help, rich),
        parser=argument.convert,
        show_default=False,
        autocompletion=_completer(argument.complete) if argument.complete else None,
    )
    annotation: Any = Annotated[list[str], option] if argument.many else Annotated[str, option]
    return _parameter(argument.key, None if argument.optional else inspect.Parameter.empty, annotation)


def _parameter(key: str, default: Any, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(_identifier(key), inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _completer(kind: str) -> Callable[[typer.Context], list[str]]:
    def names(ctx: typer.Context) -> list[str]:
        root = ctx.find_root().params.get(_identifier("root")) or os.environ.get("PYCONTAIN_ROOT")
        return complete.names(kind, root or "/var/lib/pycontain")

    return names


# --- Docker's conventions -----------------------------------------------------------------------------------------


class _WithoutTypes:
    """Help without typer's "<bool>" and "<list[str]>", which are for programmers: the metavar says it."""

    def get_params(self, ctx: Any) -> list[Any]:
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if parameter.param_type_name == "argument" or parameter.is_flag:
                parameter.display_type_rich = lambda ctx: None
        return parameters


class Group(_WithoutTypes, typer.core.TyperGroup):
    """Commands under a common first word."""


class DockerCommand(_WithoutTypes, typer.core.TyperCommand):
    """A command whose booleans take ``=false`` and whose short flags take ``-e=VALUE``, which click's do not."""

    verb: Verb

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        rewriter = _Rewriter(self.verb, lenient=ctx.resilient_parsing)
        rest = super().parse_args(ctx, rewriter.rewrite(args))
        for key, value in rewriter.booleans.items():
            ctx.params[_identifier(key)] = value
        return rest

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(argument.usage for argument in self.verb.arguments)]


class _Rewriter:
    """Flags in the forms that click knows: one a word, the value in the next.

    booleans: those that were given, as they are at the end (older clicks take a flag whose default is true for one that
    turns it off). Values are read here for the error alone: click reads only the last
    of several, ``args.parse`` all of them. lenient: a word in the middle of a completion need not be right.
    """

    def __init__(self, verb: Verb, lenient: bool) -> None:
        self.verb = verb
        self.lenient = lenient
        self.spellings = verb.spellings()
        self.booleans: dict[str, bool] = {}

    def rewrite(self, argv: list[str]) -> list[str]:
        rewritten: list[str] = []
        words = iter(argv)
        for word in words:
            option = len(word) > 1 and word[0] == "-"
            if word == "--" or not (option or self.verb.interspersed):
                return [*rewritten, word, *words]
            for name, value in self.pieces(word) if option else [(word, None)]:
                flag = self.spellings.get(name)
                if flag is None:
                    rewritten.append(name)
                elif flag.is_bool:
                    rewritten += self.switch(flag, name, "true" if value is None else value)
                else:
                    taken = next(words, None) if value is None else value
                    rewritten += [name] if taken is None else [name, taken]
                    self.check(flag, taken)
        return rewritten

    def pieces(self, word: str) -> list[tuple[str, str | None]]:
        """The flags in ``word``, each with the value that stands with it."""
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            return [(name, value if equals else None)] if name in self.spellings else [(word, None)]
        found: list[tuple[str, str | None]] = []
        for index in range(1, len(word)):
            name, rest = "-" + word[index], word[index + 1 :]
            flag = self.spellings.get(name)
            if flag is None:
                return [*found, (name + rest, None)]
            if rest.startswith("=") or (rest and not flag.is_bool):
                return [*found, (name, rest.removeprefix("="))]
            found.append((name, None))
        return found

    def switch(self, flag: Flag, name: str, value: str) -> list[str]:
        self.booleans[flag.key] = self.check(flag, value) is not False
        return [name] if self.booleans[flag.key] else []

    def check(self, flag: Flag, value: str | None) -> Any:
        try:
            return None if value is None else flag.convert(value)
        except UsageError:
            if not self.lenient:
                raise
            return None
