"""The manual pages and the tables say the same: every flag of a verb is in its page, and no other."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pycontain.cli import verbs
from pycontain.cli.args import Verb
from pycontain.cli.main import GLOBAL

MAN = Path(__file__).parents[2] / "man"

#: page → its verbs. Where a page has a subsection of the verb's last word, the verb's flags are there.
PAGES = {
    "pycontain": ["info", "version"],
    "pycontain-run": ["run", "create"],
    "pycontain-exec": ["exec"],
    "pycontain-ps": ["ps"],
    "pycontain-logs": ["logs"],
    "pycontain-cp": ["cp"],
    "pycontain-network": ["network ls", "network inspect", "network prune"],
    "pycontain-volume": ["volume ls", "volume rm", "volume prune"],
    "pycontain-image": ["image build", "image ls", "image inspect", "image rm", "image prune"],
    "pycontain-containers": [
        *("attach", "inspect", "kill", "pause", "port", "rename", "restart", "rm"),
        *("start", "stop", "top", "unpause", "wait"),
    ],
    "pycontain-planner": ["planner"],
    "pycontain-tenant": [
        *("tenant create", "tenant start", "tenant stop", "tenant restart", "tenant suspend", "tenant resume"),
        *("tenant destroy", "tenant rename", "tenant status", "tenant list", "tenant set", "tenant get"),
        *("tenant console", "tenant passwd"),
        *("tenant edit", "tenant validate", "tenant schema", "tenant runscript", "tenant push", "tenant pull"),
        *("tenant pid", "tenant top", "tenant stats", "tenant beancounters", "tenant wait", "tenant doctor"),
        *("tenant snapshot", "tenant reinstall", "tenant export", "tenant import"),
        *("tenant exec", "tenant enter"),
        *("tenant enable", "tenant disable", "tenant monitor", "tenant service"),
    ],
    "pycontain-stats": ["stats"],
    "pycontain-system": ["system tune"],
    "pycontain-update": ["update"],
}
#: What every command has, and typer's own.
EVERYWHERE = {"--help", "-h", "--install-completion", "--show-completion"}


def path_of(page: str) -> Path:
    return next(path for path in (MAN / f"{page}.{section}" for section in (1, 8)) if path.exists())


def source(page: str) -> str:
    return path_of(page).read_text()


def flags_in(line: str) -> set[str]:
    """``.It Fl t , Fl -time , -timeout Ar seconds`` → -t, --time, --timeout."""
    found = set()
    fl = False
    for word in line.removeprefix(".").split() if line.startswith(".") else ():
        if word in ("Fl", "Fl,"):
            fl = True
        elif word[0].isupper() and len(word) == 2:
            fl = False
        elif fl and re.fullmatch(r"-?[A-Za-z][a-z0-9-]*", word):
            found.add("-" + word)
    return found


def defined(text: str) -> set[str]:
    """The flags that have an entry in a list of ``text``."""
    return {flag for line in text.splitlines() if line.startswith(".It Fl") for flag in flags_in(line)}


def mentioned(text: str) -> set[str]:
    """The long flags that are named anywhere in ``text``."""
    return {flag for line in text.splitlines() for flag in flags_in(line) if flag.startswith("--")}


def subsection(text: str, name: str) -> str | None:
    match = re.search(rf"^\.Ss {name}$(.*?)(?=^\.S[sh] )", text, re.MULTILINE | re.DOTALL)
    return match and match[1]


def spelled(verb: Verb) -> set[str]:
    return set(verb.spellings())


def test_every_command_has_a_page() -> None:
    assert sorted(command for commands in PAGES.values() for command in commands) == sorted(verbs.COMMANDS)
    ours = {path.stem for path in MAN.glob("pycontain*.[18]")}
    assert set(PAGES) <= ours


@pytest.mark.parametrize("page", list(PAGES))
def test_flags_of_page_and_tables(page: str) -> None:
    text = source(page)
    expected = set().union(*(spelled(verbs.load(command)) for command in PAGES[page]))
    if page == "pycontain":
        expected |= spelled(GLOBAL)
    assert defined(text) - (EVERYWHERE - expected) == expected


@pytest.mark.parametrize(("page", "command"), [(page, command) for page in PAGES for command in PAGES[page]])
def test_flags_of_a_subsection(page: str, command: str) -> None:
    text = subsection(source(page), command.split()[-1])
    if text is None:
        assert page not in ("pycontain-containers", "pycontain-network"), f"no subsection for {command}"
        return
    expected = spelled(verbs.load(command))
    assert defined(text) - (EVERYWHERE - expected) == expected


@pytest.mark.parametrize("page", list(PAGES))
def test_flags_that_are_mentioned_exist(page: str) -> None:
    every = set().union(spelled(GLOBAL), EVERYWHERE, *(spelled(verbs.load(command)) for command in verbs.COMMANDS))
    assert mentioned(source(page)) <= every


@pytest.mark.parametrize("page", list(PAGES))
def test_defaults_are_the_tables(page: str) -> None:
    """``Default: 64m.`` in the page of a flag whose table says so."""
    for command in PAGES[page]:
        whole = source(page)
        text = subsection(whole, command.split()[-1]) or whole
        for flag in verbs.load(command).flags:
            if flag.default is None or flag.is_bool or flag.choices or flag.key in ("restart", "network", "format"):
                continue
            entry = re.search(rf"^\.It Fl[^\n]*-{flag.key}\b(.*?)(?=^\.It Fl|^\.El)", text, re.MULTILINE | re.DOTALL)
            assert entry is not None, flag.title
            words = re.sub(r"^\.(Ar|Cm|Li) ", "", entry[1], flags=re.MULTILINE)
            assert flag.default in words, f"{flag.title}: {flag.default}"


def test_exit_statuses_and_roots_are_the_programs() -> None:
    from pycontain.cli.args import Options

    options = Options(GLOBAL, {})
    text = source("pycontain")
    assert f".Pa {options.root} ." in text
    assert f".Pa {options.run_root} ." in text


@pytest.mark.parametrize("page", list(PAGES))
def test_lint(page: str) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    source(page)
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", str(path_of(page))], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
