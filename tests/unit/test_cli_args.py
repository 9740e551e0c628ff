"""The light parser: Docker's conventions, and the readers of plain values."""

from __future__ import annotations

import pytest

from pycontain.cli import args
from pycontain.cli.args import Argument, Flag, HelpWanted, Options, Verb, integer, parse, size, text
from pycontain.kernel.errors import UsageError

FLAGS = (
    Flag("-i, --interactive", ""),
    Flag("-t, --tty", ""),
    Flag("-d, --detach", ""),
    Flag("--sig-proxy", "", default="true"),
    Flag("-e, --env", "", text, "K=V", repeat=True),
    Flag("-n, --name", "", text, "NAME"),
    Flag("-m, --memory, --mem", "", size, "SIZE", default="64m"),
    Flag("--score", "", integer(-1000, 1000), "NUMBER"),
    Flag("--format", "", default="table", choices=("table", "json")),
)
RUN = Verb(
    "run",
    "",
    FLAGS,
    (Argument("image", ""), Argument("command", "", text, optional=True, many=True)),
    interspersed=False,
)
LIST = Verb("list", "", FLAGS, (Argument("first", "", optional=True), Argument("rest", "", optional=True, many=True)))


def refusal(verb: Verb, *argv: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(verb, argv)
    return caught.value.message


def test_clustered_shorts() -> None:
    options = parse(RUN, ["-itd", "busybox"])
    assert [options.flag(key) for key in ("interactive", "tty", "detach")] == [True, True, True]


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["-e", "K=V"], "K=V"),
        (["-eK=V"], "K=V"),
        (["-e=K=V"], "K=V"),
        (["--env", "K=V"], "K=V"),
        (["--env=K=V"], "K=V"),
        (["-itdeK=V"], "K=V"),
        (["-itde", "K=V"], "K=V"),
        (["-e", "-x"], "-x"),
        (["-e", "--"], "--"),
        (["--env="], ""),
        (["-e", ""], ""),
    ],
)
def test_forms_of_a_value(argv: list[str], value: str) -> None:
    assert parse(RUN, [*argv, "busybox"]).many("env") == [value]


def test_repeatable_flags_keep_their_order() -> None:
    assert parse(RUN, ["-e", "a", "-i", "--env=b", "-ec", "x"]).many("env") == ["a", "b", "c"]


def test_the_last_of_a_flag_wins_but_all_must_be_right() -> None:
    assert parse(RUN, ["--name", "a", "-nb", "x"]).text("name") == "b"
    assert "'1x'" in refusal(RUN, "--memory", "1x", "--memory", "1g", "x")


@pytest.mark.parametrize(("word", "value"), [("true", True), ("false", False), ("1", True), ("0", False), ("F", False)])
def test_booleans_take_a_value_after_equals(word: str, value: bool) -> None:
    assert parse(RUN, [f"--tty={word}", "x"]).flag("tty") is value
    assert parse(RUN, [f"-it={word}", "x"]).flag("tty") is value


def test_booleans_take_no_value_from_the_next_word() -> None:
    options = parse(RUN, ["--tty", "false"])
    assert options.flag("tty")
    assert options.text("image") == "false"


def test_a_boolean_that_is_true_by_default() -> None:
    assert parse(RUN, ["x"]).flag("sig-proxy")
    assert parse(RUN, ["--sig-proxy", "x"]).flag("sig-proxy")
    assert not parse(RUN, ["--sig-proxy=false", "x"]).flag("sig-proxy")


def test_what_follows_the_image_is_the_commands() -> None:
    options = parse(RUN, ["-i", "busybox", "ls", "-d", "--help", "--", "--name=x"])
    assert options.many("command") == ["ls", "-d", "--help", "--", "--name=x"]
    assert not options.flag("detach")


def test_flags_among_the_arguments_of_other_verbs() -> None:
    options = parse(LIST, ["a", "-i", "b", "--name=x", "c"])
    assert options.flag("interactive")
    assert (options.text("first"), options.many("rest")) == ("a", ["b", "c"])


def test_double_dash_ends_the_flags() -> None:
    assert parse(LIST, ["-i", "--", "-t", "--", "x"]).many("rest") == ["--", "x"]
    assert parse(RUN, ["--", "-i", "-t"]).text("image") == "-i"


def test_a_single_dash_is_an_argument() -> None:
    assert parse(LIST, ["-"]).text("first") == "-"


def test_negative_numbers() -> None:
    assert parse(RUN, ["--score", "-5", "x"]).number("score") == -5
    assert parse(RUN, ["--score=-5", "x"]).number("score") == -5


def test_defaults() -> None:
    options = parse(RUN, ["x"])
    assert options.number("memory") == 64 << 20
    assert options.text("format") == "table"
    assert options.text("name") == ""
    assert options.many("env") == []
    assert options.many("command") == []
    assert options.has("memory") and not options.has("name") and not options.has("env") and not options.has("tty")


def test_a_number_that_is_zero_was_given() -> None:
    assert parse(RUN, ["--score", "0", "x"]).has("score")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--nmae", "x", "y"], ["--nmae", "did you mean '--name'?"]),
        (["-x", "y"], ["-x"]),
        (["-ix", "y"], ["-x"]),
        (["--name"], ["--name needs a value: --name NAME"]),
        (["-in"], ["-n needs a value"]),
        (["--tty=maybe", "x"], ["--tty", "'maybe'"]),
        (["-m", "64x", "x"], ["--memory: '64x' is not a size: give a number with b, k, m or g"]),
        (["--score", "1001", "x"], ["--score", "-1000 to 1000"]),
        (["--format", "{{.ID}}", "x"], ["--format", "table, json"]),
        ([], ["IMAGE is missing", "run [OPTIONS] IMAGE [COMMAND...]"]),
        ([""], ["IMAGE", "empty"]),
        (["a\nb"], ["IMAGE", "control character"]),
    ],
)
def test_errors_name_flag_and_value(argv: list[str], words: list[str]) -> None:
    message = refusal(RUN, *argv)
    for word in words:
        assert word in message
    assert "\n" not in message and not message.endswith(".")


def test_too_many_arguments() -> None:
    verb = Verb("port", "", (), (Argument("container", ""),))
    assert "'b' is one argument too many" in refusal(verb, "a", "b")


@pytest.mark.parametrize("argv", [["--help"], ["-i", "--help"], ["-h"], ["-ih"]])
def test_help_is_asked_for(argv: list[str]) -> None:
    with pytest.raises(HelpWanted):
        parse(RUN, argv)


def test_h_is_the_verbs_own_where_it_has_one() -> None:
    verb = Verb("run", "", (Flag("-h, --hostname", "", text, "NAME"),))
    assert parse(verb, ["-h", "web"]).text("hostname") == "web"
    assert "(for help: --help)" in refusal(verb, "-h")


def test_check_sees_all_options() -> None:
    def check(options: Options) -> None:
        if options.flag("detach") and options.flag("tty"):
            raise UsageError("not both")

    assert refusal(Verb("run", "", FLAGS, check=check), "-dt") == "not both"


def test_wrong_use_of_options_is_a_bug() -> None:
    options = parse(RUN, ["--name", "a", "x"])
    with pytest.raises(KeyError):
        options.text("nmae")
    with pytest.raises(TypeError):
        options.flag("name")
    with pytest.raises(TypeError):
        options.number("image")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("0", 0),
        ("5", 5),
        ("5b", 5),
        ("64k", 65536),
        ("64K", 65536),
        ("64kb", 65536),
        ("64KiB", 65536),
        ("1.5g", 3 << 29),
        ("0.001k", 1),
        ("2t", 2 << 40),
        ("9223372036854775807", (1 << 63) - 1),
    ],
)
def test_size(word: str, value: int) -> None:
    assert size(word) == value


@pytest.mark.parametrize(
    "word",
    ["", "x", "64x", "-1", "+1", " 1", "1 m", "1_000", "1e3", "m", "1mm", "1bb", "1bi", "1bk", "1.2.3m", "1.", ".5g",
     "٣m", "0x10", "9223372036854775808", "9000000t", "9" * 5000],
)  # fmt: skip
def test_no_size(word: str) -> None:
    with pytest.raises(UsageError):
        size(word)


@pytest.mark.parametrize(("word", "value"), [("0", 0), ("10", 10), ("90s", 90), ("5m", 300), ("2h", 7200), ("-1", -1)])
def test_seconds(word: str, value: int) -> None:
    assert args.seconds(word) == value


@pytest.mark.parametrize("word", ["", "s", "-2", "1.5", "10ms", "1d", "10sm", "99999999999", "1h30m"])
def test_no_seconds(word: str) -> None:
    with pytest.raises(UsageError):
        args.seconds(word)


@pytest.mark.parametrize("word", ["", "-", "1_0", "+-1", " 1", "1001", "-1001", "1.0", "٣", "9" * 5000])
def test_no_integer(word: str) -> None:
    with pytest.raises(UsageError):
        integer(-1000, 1000)(word)


def test_integer() -> None:
    assert [integer(-1000, 1000)(word) for word in ("0", "-1000", "+7", "007")] == [0, -1000, 7, 7]
