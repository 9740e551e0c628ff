"""The dispatcher: which verb, which error, which exit status; and what it costs to get there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pycontain
from pycontain.cli import args, verbs
from pycontain.cli.args import Argument, Flag, Options, Verb
from pycontain.cli.main import main
from pycontain.kernel.errors import Error, NotFound, UsageError

SOURCE = str(Path(pycontain.__file__).parents[1])

Handler = Callable[[Options], int]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A verb ``fake`` whose handler the test sets as ``main``."""
    module = types.ModuleType("pycontain.cli.verbs.fake")
    module.FAKE = Verb(  # type: ignore[attr-defined]
        "fake", "Do nothing", (Flag("-f, --force", "Force it."),), (Argument("names", "", optional=True, many=True),)
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(verbs, "fake", module, raising=False)
    monkeypatch.setitem(verbs.COMMANDS, "fake", ("fake", "FAKE"))
    yield module


def raising(error: BaseException) -> Handler:
    def handler(options: Options) -> int:
        raise error

    return handler


def test_the_handlers_status_is_the_exit_status(fake: types.ModuleType) -> None:
    fake.main = lambda options: 42  # type: ignore[attr-defined]
    assert main(["fake"]) == 42


def test_the_handler_gets_its_options(fake: types.ModuleType) -> None:
    seen: list[Options] = []
    fake.main = lambda options: seen.append(options) or 0  # type: ignore[attr-defined,func-returns-value]
    assert main(["--root", "/a", "--run-root=/b", "--debug", "fake", "-f", "x", "y"]) == 0
    (options,) = seen
    assert (options.root, options.run_root, options.debug) == ("/a", "/b", True)
    assert options.flag("force") and options.many("names") == ["x", "y"]


def test_roots_from_the_environment(fake: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    fake.main = lambda options: seen.append((options.root, options.run_root)) or 0  # type: ignore[attr-defined,func-returns-value]
    monkeypatch.delenv("PYCONTAIN_ROOT", raising=False)
    monkeypatch.delenv("PYCONTAIN_RUN_ROOT", raising=False)
    main(["fake"])
    monkeypatch.setenv("PYCONTAIN_ROOT", "/env")
    monkeypatch.setenv("PYCONTAIN_RUN_ROOT", "/envrun")
    main(["fake"])
    monkeypatch.chdir(tmp_path)
    main(["--root", "here", "fake"])
    main(["--root", "/flag", "--run-root", "/flagrun", "fake"])
    assert seen == [
        ("/var/lib/pycontain", "/run/pycontain"),
        ("/env", "/envrun"),
        (f"{tmp_path}/here", "/envrun"),
        ("/flag", "/flagrun"),
    ]


@pytest.mark.parametrize("where", ["flag", "environment"])
def test_a_root_with_a_control_character_is_refused(
    where: str, fake: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.main = lambda options: 0  # type: ignore[attr-defined]
    if where == "environment":
        monkeypatch.setenv("PYCONTAIN_ROOT", "/a\nb")
    assert main(["--root", "/a\nb", "fake"] if where == "flag" else ["fake"]) == 125
    assert "control character" in capfd.readouterr().err


def test_an_error_is_one_line_and_its_status(fake: types.ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    fake.main = raising(NotFound("no container 'x\ny\x1b[2J\udcff'", 3))  # type: ignore[attr-defined]
    assert main(["fake"]) == 3
    out, err = capfd.readouterr()
    assert (out, err) == ("", "pycontain: no container 'x\\ny\\x1b[2J\\udcff'\n")


def test_a_usage_error_says_where_help_is(fake: types.ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    fake.main = raising(UsageError("-p: no"))  # type: ignore[attr-defined]
    assert main(["fake"]) == 125
    assert capfd.readouterr().err == "pycontain: -p: no\nTry 'pycontain fake --help'\n"


def test_debug_shows_where_an_error_arose(fake: types.ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    fake.main = raising(Error("broken"))  # type: ignore[attr-defined]
    assert main(["--debug", "fake"]) == 125
    err = capfd.readouterr().err
    assert "Traceback" in err and err.endswith("pycontain: broken\n")


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 141, ""),
        (MemoryError(), 125, "out of memory"),
        (RecursionError(), 125, "nested too deeply"),
    ],
)
def test_other_ends(
    error: BaseException, status: int, words: str, fake: types.ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.main = raising(error)  # type: ignore[attr-defined]
    assert main(["fake"]) == status
    err = capfd.readouterr().err
    assert words in err and "Traceback" not in err and err.count("\n") == bool(words)


def test_a_bug_shows_a_traceback_and_asks_for_a_report(
    fake: types.ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.main = raising(ZeroDivisionError("oops"))  # type: ignore[attr-defined]
    assert main(["fake"]) == 125
    err = capfd.readouterr().err
    assert "ZeroDivisionError: oops" in err and "bug in pycontain" in err


def test_a_verb_without_handler_is_an_error(fake: types.ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["fake"]) == 125
    assert capfd.readouterr().err == "pycontain: fake: this pycontain is built without it\n"


@pytest.mark.parametrize(
    ("argv", "line", "command"),
    [
        (["rnu"], "'rnu' is not a pycontain command; did you mean 'run'?", ""),
        (["frobnicate"], "'frobnicate' is not a pycontain command", ""),
        (["image", "lss"], "'image lss' is not a pycontain command; did you mean 'image ls'?", " image"),
        (["images", "x"], "'x' is one argument too many: pycontain image ls [OPTIONS]", " images"),
        (["ps", "--al"], "unknown flag --al; did you mean '--all'?", " ps"),
        (["help", "rnu"], "'rnu' is not a pycontain command; did you mean 'run'?", ""),
        (["--rooot", "x"], "unknown flag --rooot; did you mean '--root'?", ""),
        (["run", "-p"], "-p needs a value: -p [[IP:]HOST:]PORT[/PROTO]", " run"),
        (["", "x"], "'' is not a pycontain command", ""),
    ],
)
def test_mistakes(argv: list[str], line: str, command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 125
    out, err = capfd.readouterr()
    assert (out, err) == ("", f"pycontain: {line}\nTry 'pycontain{command} --help'\n")


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"pycontain {pycontain.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "usage"),
    [
        ([], "pycontain [OPTIONS] COMMAND"),
        (["help"], "pycontain [OPTIONS] COMMAND"),
        (["--help"], "pycontain [OPTIONS] COMMAND"),
        (["-h"], "pycontain [OPTIONS] COMMAND"),
        (["help", "run"], "pycontain run [OPTIONS] IMAGE [COMMAND...]"),
        (["run", "-it", "--help"], "pycontain run [OPTIONS] IMAGE [COMMAND...]"),
        (["image"], "pycontain image [OPTIONS] COMMAND"),
        (["image", "--help"], "pycontain image [OPTIONS] COMMAND"),
        (["help", "image", "ls"], "pycontain image ls [OPTIONS]"),
        (["container", "ls", "-h"], "pycontain container ls [OPTIONS]"),
        (["rmi", "--help"], "pycontain rmi [OPTIONS] IMAGE..."),
    ],
)
def test_help(argv: list[str], usage: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    out, err = capfd.readouterr()
    assert usage in out and err == ""


def test_every_command_and_alias_has_a_table() -> None:
    for command in [*verbs.COMMANDS, *verbs.ALIASES]:
        verb = verbs.load(command)
        assert verb.summary and verb.epilog
        assert not verb.summary.endswith(".")
        keys = [flag.key for flag in verb.flags] + [argument.key for argument in verb.arguments]
        assert len(set(keys)) == len(keys), "one name for two things"
        spelled = [name for flag in verb.flags for name in flag.names]
        assert len(set(spelled)) == len(spelled)
        for flag in verb.flags:
            assert flag.help.endswith((".", "..."))
            if flag.default is not None:
                flag.convert(flag.default)
            assert flag.is_bool or flag.metavar


def test_every_command_names_itself() -> None:
    for command in verbs.COMMANDS:
        assert verbs.load(command).name == command


def test_the_statuses_of_ps_are_the_engines() -> None:
    from pycontain.cli.verbs import ps
    from pycontain.engine import listing, state

    engine = {value for name, value in vars(state).items() if name.isupper() and isinstance(value, str)}
    assert set(ps.STATUSES) == engine | {listing.DAMAGED}


# --- as a process -------------------------------------------------------------------------------------------------


def pycontain_argv(*argv: str) -> list[str]:
    code = f"import sys; sys.path.insert(0, {SOURCE!r}); from pycontain.cli.main import run; run()"
    return [sys.executable, "-I", "-S", "-c", code, *argv]


def test_output_into_a_full_device() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(pycontain_argv("--version"), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 125
    assert done.stderr == "pycontain: cannot write to standard output: No space left on device\n"


def test_output_into_a_closed_pipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(pycontain_argv("--version"), stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_descriptors(closed: tuple[int, ...]) -> None:
    redirections = " ".join(f"{number}>&-" for number in closed)
    script = f'exec "$@" {redirections}'
    done = subprocess.run(["sh", "-c", script, "sh", *pycontain_argv("--version")], capture_output=True)
    assert done.returncode == 0
    done = subprocess.run(["sh", "-c", script, "sh", *pycontain_argv("rnu")], capture_output=True)
    assert done.returncode == 125
    assert b"Traceback" not in done.stderr


def test_ctrl_c() -> None:
    code = f"""
import sys; sys.path.insert(0, {SOURCE!r})
from pycontain.cli import main, verbs
def wait(command):
    print("ready", flush=True)
    sys.stdin.read()
verbs.handler = wait
main.run()
"""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code, "ps"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, b"")


def test_help_without_site_packages_finds_typer() -> None:
    """The helper starts the interpreter with -S; the interpreter of these tests has typer in its site-packages."""
    done = subprocess.run(pycontain_argv("ps", "--help"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--filter" in done.stdout


@pytest.mark.parametrize(
    ("end", "status"),
    [("raise Error('broken', 7)", 7), ("raise KeyboardInterrupt", 130), ("1 / 0", 125), ("return 3", 3)],
)
def test_what_was_printed_is_not_lost(end: str, status: int) -> None:
    code = f"""
import sys; sys.path.insert(0, {SOURCE!r})
from pycontain.cli import main, verbs
from pycontain.kernel.errors import Error
def handler(options):
    print("done so far")
    {end}
verbs.handler = lambda command: handler
main.run()
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, "ps"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, "done so far\n")


ALLOWED = (
    {"os", "posix", "posixpath", "genericpath", "_json", "_struct", "_socket", "fcntl", "select", "time", "errno"}
    | {
        "gc",
        "marshal",
        "_signal",
        "_blake2",
        "sys",
        "os.path",
        "stat",
        "_stat",
        "__future__",
        "_collections_abc",
        "abc",
        "_abc",
        "io",
    }
    | {"_io", "codecs", "_codecs", "encodings", "builtins", "zipimport", "_imp", "_thread", "_warnings", "_weakref"}
    | {"winreg", "__main__", "_frozen_importlib", "_frozen_importlib_external", "encodings.aliases"}
    | {"encodings.utf_8", "encodings.ascii", "encodings.latin_1"}
)


@pytest.mark.parametrize(
    "argv",
    [
        ["run", "--rm", "-itd", "-eA=B", "-v", "/a:/b:ro", "-p", "80:80", "-m", "1g", "--cpus", "2",
         "--ulimit", "core=0", "--stop-signal", "HUP", "--dns", "1.1.1.1", "--cap-add", "KILL", "--tmpfs", "/t",
         "--restart", "no", "busybox", "ls"],
        ["create", "busybox"],
        ["exec", "-it", "-u", "1", "web", "sh"],
        ["start", "web"],
    ],
    ids=lambda argv: argv[0],
)  # fmt: skip
def test_the_start_road_imports_nothing_slow(argv: list[str]) -> None:
    code = f"""
import sys; sys.path.insert(0, {SOURCE!r})
from pycontain.cli import main, verbs
command, *rest = {argv!r}
main.parse(main.GLOBAL, {argv!r})
main.parse(verbs.load(command), rest)
print("\\n".join(sys.modules))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    foreign = {name for name in done.stdout.split() if not name.startswith("pycontain")}
    assert foreign <= ALLOWED
    ours = {name.removeprefix("pycontain.cli.verbs.") for name in done.stdout.split() if ".verbs." in name}
    assert ours <= {"run", "exec", "start", "shared", "limits", "storage", "each"}, "only the verb's own module"


# --- completion ---------------------------------------------------------------------------------------------------


def completions(tmp_path: Path, words: str) -> list[str]:
    environment = {
        "PYCONTAIN_ROOT": str(tmp_path),
        "_PYCONTAIN_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - (not words.endswith(" "))),
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(pycontain_argv(), env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_completion(tmp_path: Path) -> None:
    from pycontain.image.reference import parse as reference

    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "web").touch()
    (tmp_path / "names" / "db").touch()
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs" / reference("busybox").encode()).touch()
    (tmp_path / "refs" / "%zz").touch()
    assert completions(tmp_path, "pycontain renam") == ["rename"]
    assert completions(tmp_path, "pycontain stop ") == ["db", "web"]
    assert completions(tmp_path, "pycontain exec -it w") == ["web"]
    assert completions(tmp_path, "pycontain run --rm -v /a:/b bu") == ["busybox:latest"]
    assert completions(tmp_path, "pycontain run --memory wrong --rm=wrong bu") == ["busybox:latest"]
    assert completions(tmp_path, "pycontain ps --format ") == ["table", "json"]
    assert completions(tmp_path, "pycontain run --netw") == ["--network"]
    assert completions(tmp_path, "pycontain image r") == ["rm"]


def test_show_completion() -> None:
    environment = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "PATH": os.environ["PATH"]}
    done = subprocess.run(pycontain_argv("--show-completion", "bash"), env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert "_PYCONTAIN_COMPLETE=complete_bash" in done.stdout


# --- what handlers may ask of their options -----------------------------------------------------------------------


def test_handlers_ask_for_what_their_tables_have() -> None:
    """``options.text("nmae")`` in a verb's module is found here and not by its user."""
    import ast

    methods = {"has", "flag", "text", "number", "one", "all", "many"}
    for module in sorted({module for module, _ in verbs.COMMANDS.values()}):
        loaded = __import__(f"pycontain.cli.verbs.{module}", fromlist=["*"])
        tables = [value for value in vars(loaded).values() if isinstance(value, Verb)]
        known = {key for verb in tables for key in args_keys(verb)}
        for node in ast.walk(ast.parse(Path(str(loaded.__file__)).read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in methods
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "options"
                and isinstance(node.args[0], ast.Constant)
            ):
                assert node.args[0].value in known, f"{module}:{node.lineno}"


def args_keys(verb: Verb) -> set[str]:
    return {flag.key for flag in verb.flags} | {argument.key for argument in verb.arguments}


def test_options_print_as_json() -> None:
    """What the tables give is made of plain values and the classes of cli.values."""
    options = args.parse(verbs.load("run"), ["-e", "A=B", "busybox"])
    json.dumps(options.values, default=repr)
