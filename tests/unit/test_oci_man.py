"""pycontain-oci's manual pages and the tables of its options say the same; one page a verb."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pycontain.oci import main, state
from pycontain.oci.options import GLOBAL, VERBS, Verb
from test_cli_man import MAN, defined, mentioned

OVERVIEW = "pycontain-oci"
#: A verb that is refused as a whole has no page.
DONE = [verb for verb in VERBS if verb in main._FUNCTIONS]
PAGES = [OVERVIEW, *(f"{OVERVIEW}-{verb}" for verb in DONE)]


def source(page: str) -> str:
    return (MAN / f"{page}.8").read_text()


def spelled(table: Verb) -> set[str]:
    return {f"--{name}" for name in table.values | table.flags} | {f"-{letter}" for letter in table.short}


def synopsis(page: str) -> str:
    return source(page).partition(".Sh SYNOPSIS\n")[2].partition(".Sh DESCRIPTION\n")[0]


def test_there_is_a_page_for_each_verb_and_no_other() -> None:
    assert {path.stem for path in MAN.glob("pycontain-oci*.8")} == set(PAGES)


@pytest.mark.parametrize("verb", DONE)
def test_flags_of_page_and_table(verb: str) -> None:
    # two pages say what the global --criu is for
    assert defined(source(f"{OVERVIEW}-{verb}")) - {"--criu"} == spelled(VERBS[verb]) - {"--help", "-h"}


def test_flags_of_the_overview_are_the_global_ones() -> None:
    assert defined(source(OVERVIEW)) == spelled(GLOBAL)


@pytest.mark.parametrize("page", PAGES)
def test_flags_that_are_mentioned_exist(page: str) -> None:
    verb = page.removeprefix(OVERVIEW).removeprefix("-")
    known = spelled(GLOBAL) | (spelled(VERBS[verb]) if verb else set())
    assert mentioned(source(page)) - {"--opt"} <= known


@pytest.mark.parametrize("verb", DONE)
def test_a_synopsis_is_of_its_verb(verb: str) -> None:
    text = synopsis(f"{OVERVIEW}-{verb}")
    assert text.startswith(".Nm pycontain-oci\n") and f"\n.Cm {verb}\n" in text
    shown = set(re.findall(r"^\.(?:Op )?Fl (\w)\b", text, re.MULTILINE))
    assert verb in ("exec", "update") or shown == set(VERBS[verb].short) - {"h"}


def test_the_overview_and_the_usage_name_every_verb() -> None:
    text = source(OVERVIEW)
    listed = {name for line in re.findall(r"^\.It Ic (.*)$", text, re.MULTILINE) for name in line.split(" , ")}
    assert listed == set(VERBS)
    assert set(re.findall(r"^\.Xr pycontain-oci-(\w+) 8", text.rpartition(".Sh SEE ALSO")[2], re.MULTILINE)) == set(
        DONE
    )
    assert set(re.findall(r"^  ([a-z]+)\b", main._USAGE, re.MULTILINE)) >= set(DONE)
    assert f".Pa {state.DEFAULT_ROOT}\n" in text


@pytest.mark.parametrize("page", PAGES)
def test_pages_that_are_referred_to_exist(page: str) -> None:
    for name, section in re.findall(r"^\.Xr (pycontain[\w-]*) (\d)", source(page), re.MULTILINE):
        assert (MAN / f"{name}.{section}").exists(), name


@pytest.mark.parametrize("page", PAGES)
def test_lint(page: str) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    path = Path(MAN / f"{page}.8")
    command = ["mandoc", "-Tlint", "-Wwarning", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
