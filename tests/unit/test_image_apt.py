"""The host's apt sources."""

from __future__ import annotations

from pathlib import Path

from pycontain.image import apt

LIST = """
# deb http://commented/ bookworm main
deb http://mirror/debian bookworm main contrib # comment
deb-src http://mirror/debian bookworm main
deb [arch=amd64,arm64 signed-by=/k.gpg trusted=yes] https://u:p@secure/debian bookworm-security main
deb http://mirror/debian bookworm-backports main
deb [ signed-by=/docker.gpg ] https://third/ bookworm stable
deb https://other/ ./
broken
"""

SOURCES = """
# a comment
Types: deb deb-src
URIs: http://one/debian http://two/debian
Suites: trixie trixie-updates
Components: main non-free
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Types: deb
Enabled: no
URIs: http://disabled
Suites: trixie
Components: main

types: deb-src
uris: http://src
suites: trixie
components: main
"""


def test_one_line() -> None:
    sources = apt.parse_one_line(LIST)
    assert [(source.uris, source.suites, source.components) for source in sources] == [
        (["http://mirror/debian"], ["bookworm"], ["main", "contrib"]),
        (["https://u:p@secure/debian"], ["bookworm-security"], ["main"]),
        (["http://mirror/debian"], ["bookworm-backports"], ["main"]),
        (["https://third/"], ["bookworm"], ["stable"]),
        (["https://other/"], ["./"], []),
    ]
    assert sources[1].options == {"Architectures": "amd64 arm64", "Signed-By": "/k.gpg", "Trusted": "yes"}


def test_deb822() -> None:
    (source,) = apt.parse_deb822(SOURCES)
    assert source.uris == ["http://one/debian", "http://two/debian"] and source.suites == ["trixie", "trixie-updates"]
    (again,) = apt.parse_deb822(apt.to_text([source]))
    assert again.options == source.options and "abc" in again.options["Signed-By"]
    assert apt.keyrings([source]) == []


def test_only_the_release_of_the_host() -> None:
    found = apt.sources_for(apt.parse_one_line(LIST), "bookworm", "", ["main"])
    assert [(source.uris, source.suites, source.components) for source in found] == [
        (["http://mirror/debian"], ["bookworm"], ["main"]),
        (["https://u:p@secure/debian"], ["bookworm-security"], ["main"]),
    ]
    assert apt.keyrings(found) == ["/k.gpg"]


def test_another_suite() -> None:
    found = apt.sources_for(apt.parse_one_line(LIST), "bookworm", "trixie", ["main"])
    assert [source.suites for source in found] == [["trixie"], ["trixie-security"]]
    found = apt.sources_for(apt.parse_one_line(LIST), "bookworm", "sid", ["main"])
    assert [source.suites for source in found] == [["sid"]]


def test_suite_by_alias() -> None:
    sources = apt.parse_one_line("deb http://m stable main\ndeb http://m stable-updates main\n")
    assert [source.suites for source in apt.sources_for(sources, "bookworm", "", ["main"])] == [
        ["stable"],
        ["stable-updates"],
    ]
    assert apt.sources_for([], "bookworm", "", ["main"]) == []
    assert apt.sources_for(apt.parse_one_line(LIST), "jammy", "", ["main"]) == []


def test_passwords_stay_on_the_host() -> None:
    found = apt.sources_for(apt.parse_one_line(LIST), "bookworm", "", ["main"])
    assert "https://u:p@secure/debian" in apt.to_text(found)
    assert "u:p" not in apt.to_text(found, secrets=False) and "https://secure/debian" in apt.to_text(found, False)


def test_host_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(LIST)
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/a.sources").write_text(SOURCES)
    (tmp_path / "sources.list.d/b.list").write_text("deb http://b x main\n")
    (tmp_path / "sources.list.d/c.list.bak").write_text("deb http://c x main\n")
    uris = [source.uris[0] for source in apt.host_sources(str(tmp_path))]
    assert uris[-2:] == ["http://one/debian", "http://b"] and len(uris) == 7
    assert apt.host_sources(f"{tmp_path}/none") == []
