"""The two parsers of the one table: what args.parse gives is what typer gives, or both refuse."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pycontain.cli import args, times, typer_app, verbs
from pycontain.cli.args import Flag, Verb
from pycontain.kernel.errors import UsageError

#: A value that is right, by the flag's key; for others the pool has some.
GOOD = {
    "name": "web",
    "restart": "on-failure:3",
    "stop-signal": "RTMIN+3",
    "stop-timeout": "90s",
    "time": "-1",
    "label": "a=b",
    "cidfile": "/tmp/cid",
    "env": "A=B",
    "workdir": "/srv",
    "user": "1:2",
    "hostname": "web-1",
    "volume": "/a:/b:ro,nosuid",
    "mount": "type=bind,source=/a,destination=/b",
    "tmpfs": "/t:size=64m",
    "shm-size": "1g",
    "device": "/dev/null",
    "network": "container:db",
    "ip": "10.222.0.9",
    "dns": "fd00::1",
    "dns-search": "example.org",
    "add-host": "db:10.0.0.1",
    "memory": "256m",
    "memory-swap": "-1",
    "memory-reservation": "64m",
    "cpus": "1.5",
    "cpu-quota": "50000",
    "cpu-period": "100000",
    "cpuset-cpus": "0-1",
    "cpuset-mems": "0",
    "blkio-weight": "100",
    "device-read-bps": "/dev/sda:1m",
    "device-write-bps": "/dev/sda:1m",
    "device-read-iops": "/dev/sda:100",
    "device-write-iops": "/dev/sda:100",
    "cpu-shares": "512",
    "pids-limit": "-1",
    "ulimit": "nofile=1:2",
    "oom-score-adj": "-500",
    "cap-add": "net_admin",
    "cap-drop": "ALL",
    "security-opt": "no-new-privileges",
    "sysctl": "net.core.somaxconn=1",
    "log-size": "1m",
    "log-files": "5",
    "detach-keys": "ctrl-a,x",
    "filter": "status=running",
    "tail": "all",
    "since": "10m",
    "until": "2026-01-02T03:04:05.5Z",
    "signal": "9",
    "format": "json",
}
POOL = [
    "",
    "x",
    "1",
    "-1",
    "-x",
    "--",
    "-",
    "=",
    "a=b",
    "host",
    "json",
    "true",
    "c:/etc",
    "64x",
    "/a:/b",
    "--rm",
    "-it",
]
BOOLEANS = ["true", "false", "1", "0", "T", "", "maybe"]


def tokens(verb: Verb) -> st.SearchStrategy[list[str]]:
    """Words that stand for one flag of ``verb``, or for none."""
    shorts = [name for flag in verb.flags if flag.is_bool for name in flag.names if len(name) == 2]
    strategies = [one_flag(flag) for flag in verb.flags]
    strategies.append(
        st.sampled_from(["web", "busybox", "", "-", "--", "--nonsense", "-Z", "a b", "--=x"]).map(lambda w: [w])
    )
    if shorts:
        strategies.append(cluster(verb, shorts))
    return st.one_of(strategies)


def one_flag(flag: Flag) -> st.SearchStrategy[list[str]]:
    value = st.one_of(st.just(GOOD.get(flag.key, "x")), st.just(GOOD.get(flag.key, "x")), st.sampled_from(POOL))
    if flag.is_bool:
        spelled = st.one_of(st.just(""), st.sampled_from(BOOLEANS).map(lambda word: "=" + word))
        return st.tuples(st.sampled_from(flag.names), spelled).map(lambda pair: [pair[0] + pair[1]])
    forms: list[st.SearchStrategy[list[str]]] = []
    for name in flag.names:
        for between in ("\0", "=", "")[: 3 if len(name) == 2 else 2]:
            forms.append(st.tuples(st.just(name + between), value).map(lambda pair: "".join(pair).split("\0")))
    return st.one_of(forms)


def cluster(verb: Verb, shorts: list[str]) -> st.SearchStrategy[list[str]]:
    last = [flag for flag in verb.flags if not flag.is_bool and any(len(name) == 2 for name in flag.names)]
    heads = st.lists(st.sampled_from(shorts), min_size=1, max_size=4).map(
        lambda names: "-" + "".join(n[1] for n in names)
    )
    tails = [st.sampled_from(["", "=false", "=true", "=x"]).map(lambda word: [word])]
    for flag in last:
        short = next(name for name in flag.names if len(name) == 2)
        good = GOOD.get(flag.key, "x")
        tails.append(st.sampled_from([[short[1], good], [short[1] + good], [f"{short[1]}={good}"], [short[1]]]))
    return st.tuples(heads, st.one_of(tails)).map(lambda pair: [pair[0] + pair[1][0], *pair[1][1:]])


@st.composite
def command_lines(draw: Any, command: str) -> list[str]:
    verb = verbs.load(command)
    words = [word for group in draw(st.one_of(st.just([]), st.lists(tokens(verb), max_size=6))) for word in group]
    needed = sum(not argument.optional for argument in verb.arguments)
    right = st.lists(st.sampled_from(["busybox", "web"]), min_size=needed, max_size=needed)
    wrong = st.lists(st.sampled_from(["busybox", "web", "a:/b", "-l", "--rm", "", "sh"]), max_size=3)
    operands = draw(st.one_of(right, right, wrong))
    return [word for word in words + operands if word != "--help"]


def outcome(parse: Any) -> Any:
    try:
        options = parse()
    except UsageError:
        return "refused"
    except args.HelpWanted:
        return "help"
    return {key: None if value == [] else value for key, value in options.values.items()}


@pytest.mark.parametrize("command", list(verbs.COMMANDS))
def test_both_parsers_agree(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(times, "now", lambda: 1_800_000_000 * times.SECOND)
    verb = verbs.load(command)
    accepted = 0

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(command_lines(command))
    def agree(argv: list[str]) -> None:
        nonlocal accepted
        light = outcome(lambda: args.parse(verb, argv))
        heavy = outcome(lambda: typer_app.parse(command, argv))
        assert light == heavy, argv
        accepted += light != "refused"

    agree()
    capsys.readouterr()
    few = 0 if not verb.flags and not verb.arguments else 5
    assert accepted > few, "nearly everything was refused: the test compares nothing"


def test_the_examples_in_help_parse() -> None:
    seen = 0
    for command in verbs.COMMANDS:
        for line in filter(None, verbs.load(command).epilog.splitlines()):
            line = (
                line.partition("|")[0].replace("$(pycontain ps -aq --filter label=ci)", "a b").replace("$PWD", "/src")
            )
            program, *words = shlex.split(line.replace("$PWD", "/src"))
            named = words[: 1 + (words[0] in verbs.GROUPS)]
            assert program == "pycontain"
            args.parse(verbs.load(" ".join(named)), words[len(named) :])
            seen += 1
    assert seen >= len(verbs.COMMANDS)


@pytest.mark.parametrize("command", [*verbs.COMMANDS, *verbs.ALIASES])
def test_help_shows_every_flag_and_argument(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert typer_app.run([*command.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    verb = verbs.load(command)
    for flag in verb.flags:
        for name in flag.names:
            assert name in shown.replace(",", " ").split(), name
    for argument in verb.arguments:
        assert argument.metavar in shown


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    typer_app.run(["--help"])
    shown = capsys.readouterr().out
    for command in verbs.COMMANDS:
        assert f"  {command.split()[0]} " in shown
    for flag in ("--root", "--run-root", "--debug", "--version", "--install-completion"):
        assert flag in shown


def test_rich_help_renders_brackets_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    typer_app.command(True).main(args=["run", "--help"], prog_name="pycontain", standalone_mode=False)
    shown = capsys.readouterr().out
    assert "SOURCE:TARGET[:OPTIONS]" in shown
    assert "on-failure[:N]" in shown
    assert "<bool>" not in shown.replace("--help", "")
