"""pycontain-oci's command line: options in all of runc's spellings, IDs, signals."""

from __future__ import annotations

import pytest

from pycontain.kernel import rootless
from pycontain.kernel.errors import Error, UsageError
from pycontain.oci import signals, state
from pycontain.oci.arguments import check_id, parse
from pycontain.oci.main import _find
from pycontain.oci.options import GLOBAL, VERBS


@pytest.mark.parametrize(
    "line",
    [
        "exec --user 1:2 --detach --tty c id -l",
        "exec --user=1:2 -d -t c id -l",
        "exec -u 1:2 -dt c id -l",
        "exec -u1:2 -td c id -l",
        "exec -u=1:2 -d=true --tty=1 c id -l",
        "exec -user 1:2 -detach -tty c id -l",
        "exec -dtu 1:2 c id -l",
    ],
)
def test_every_spelling_is_one(line: str) -> None:
    call = parse(line.split(), GLOBAL, VERBS)
    assert (call.text("user"), call.flag("detach"), call.flag("tty")) == ("1:2", True, True)
    assert call.words == ["c", "id", "-l"]


def test_options_after_the_id() -> None:
    call = parse(["--root=/r", "create", "c", "--bundle", "/b", "--no-pivot"], GLOBAL, VERBS)
    assert (call.globals, call.words, call.text("bundle"), call.flag("no-pivot")) == ({"root": "/r"}, ["c"], "/b", True)


def test_exec_and_ps_leave_the_words_behind_the_id_alone() -> None:
    assert parse(["exec", "c", "ls", "--detach", "--"], GLOBAL, VERBS).words == ["c", "ls", "--detach", "--"]
    assert parse(["ps", "c", "-o", "pid"], GLOBAL, VERBS).words == ["c", "-o", "pid"]


def test_two_dashes_end_the_options() -> None:
    assert parse(["kill", "--", "-c", "9"], GLOBAL, VERBS).words == ["-c", "9"]


def test_the_same_letter_is_another_option_elsewhere() -> None:
    assert parse(["list", "-f", "json"], GLOBAL, VERBS).text("format") == "json"
    assert parse(["delete", "-f", "c"], GLOBAL, VERBS).flag("force")


def test_repeated_options_are_all_kept() -> None:
    call = parse(["exec", "-e", "A=1", "--env=B=2", "-eC=3", "c"], GLOBAL, VERBS)
    assert call.every("env") == ["A=1", "B=2", "C=3"] and call.text("env") == "C=3"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("state --moon c", "state: unknown option --moon"),
        ("state -x c", "state: unknown option -x"),
        ("exec -dx c", "exec: unknown option -dx"),
        ("--moon state c", "unknown option --moon"),
        ("exec --user", "exec: flag needs an argument: --user"),
        ("exec -u", "exec: flag needs an argument: -u"),
        ("kill --all=maybe c", "kill: --all: 'maybe' is neither true nor false"),
        ("moon c", "'moon' is not a verb"),
        ("start --bundle /b c", "start: unknown option --bundle"),
    ],
)
def test_what_cannot_be(line: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse(line.split(), GLOBAL, VERBS)


@pytest.mark.parametrize("name", ["a", "0", "A_b", "+x", "_x", "a.b-c+d", "x" * 1024, "web_1.2"])
def test_ids(name: str) -> None:
    """crun's [a-zA-Z0-9_+-][a-zA-Z0-9_+.-]*: a leading dash is one behind "--"."""
    assert check_id(name) == name
    assert parse(["state", "--", "-x"], GLOBAL, VERBS).id() == "-x"


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "a/b", "a b", "a\n", "ä", "a\0", "x" * 1025, "a:b", "~"])
def test_what_is_no_id(name: str) -> None:
    with pytest.raises(UsageError, match="is not a container ID"):
        check_id(name)


@pytest.mark.parametrize("text", ["", "-1", "x", "1 ", "+1", "1_0", "٣", "9999999999"])
def test_numbers_are_digits(text: str) -> None:
    call = parse(["create", f"--preserve-fds={text}", "c"], GLOBAL, VERBS)
    if text == "":
        assert call.number("preserve-fds") == 0
        return
    with pytest.raises(UsageError, match="--preserve-fds"):
        call.number("preserve-fds")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_there(verb: str) -> None:
    assert callable(_find(verb))


@pytest.mark.parametrize(
    ("text", "number"),
    [("9", 9), ("0", 0), ("KILL", 9), ("SIGKILL", 9), ("term", 15), ("sigusr1", 10), ("SYS", 31), ("RTMIN+3", 37),
     ("SIGRTMAX-1", 63), ("RTMIN", 34), ("64", 64), ("POLL", 29)],
)  # fmt: skip
def test_signals(text: str, number: int) -> None:
    assert signals.number(text) == number


def test_the_names_are_the_kernels() -> None:
    import signal

    for number, name in enumerate(signals.NAMES, 1):
        if name not in ("STKFLT",):
            assert signal.Signals[f"SIG{name}"] == number


@pytest.mark.parametrize(
    "text", ["", "65", "-9", "FOO", "SIG", "SIGSIGKILL", "RTMIN+31", "RTMIN-1", "RTMAX-31", "٩", "9x"]
)
def test_what_is_no_signal(text: str) -> None:
    with pytest.raises(Error, match="unknown signal"):
        signals.number(text)


@pytest.mark.parametrize(
    ("inside", "base", "root"),
    [
        (False, "/run/user/1000", "/run/pycontain-oci"),
        (True, "/run/user/1000", "/run/user/1000/pycontain-oci"),
        (True, "relative", "/run/pycontain-oci"),
        (True, "", "/run/pycontain-oci"),
    ],
)
def test_where_the_state_is(monkeypatch: pytest.MonkeyPatch, inside: bool, base: str, root: str) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", base)
    monkeypatch.delenv(rootless.VARIABLE, raising=False)
    monkeypatch.setattr(rootless, "inside", lambda: inside)
    assert state.default_root() == root
