"""The host's apt: where its packages come from, and a private copy of its settings. Off the start road.

Images are built from the host's own sources, so that its mirrors and proxies serve; of these only what is the
distribution's: the entries of its release, its updates and its security, and the components that are asked for.
"""

from __future__ import annotations

import os

from pycontain.image import tool
from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Suites beside a release that belong to it; "/updates" is the security suite of Debian 10 and older.
_COMPANIONS = ("", "-updates", "-security", "/updates")
_ALIASES = ("stable", "testing", "unstable", "sid", "oldstable")
#: Suites that have no companions.
_ROLLING = ("sid", "unstable", "experimental")
#: sources.list(5): options of the one-line format whose deb822 names are not their own with a capital.
_OPTIONS = {"arch": "Architectures", "lang": "Languages", "target": "Targets"}
#: Parts of the host's Acquire settings that are about what is fetched rather than how.
_LEFT_OUT = ("IndexTargets", "Changelogs", "CompressionTypes", "cdrom", "Languages")


class Source:
    """One entry of sources.list(5) for binary packages."""

    __slots__ = ("components", "options", "suites", "uris")

    def __init__(self, uris: list[str], suites: list[str], components: list[str], options: dict[str, str]) -> None:
        self.uris = uris
        self.suites = suites
        self.components = components
        self.options = options


def release() -> str:
    """The code name of the host's release ("bookworm"), "" where it has none. Source: os-release(5)."""
    import platform

    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return ""


def host_sources(directory: str = "/etc/apt") -> list[Source]:
    """The sources of the host in sources.list and sources.list.d. Raises Error for one that cannot be read."""
    paths = [f"{directory}/sources.list"]
    try:
        names = sorted(os.listdir(f"{directory}/sources.list.d"))
    except OSError:
        names = []
    paths += [f"{directory}/sources.list.d/{name}" for name in names if name.endswith((".list", ".sources"))]
    sources: list[Source] = []
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Error(f"cannot read {path}: {os_text(error)}") from None
        sources += parse_deb822(text) if path.endswith(".sources") else parse_one_line(text)
    return sources


def parse_one_line(text: str) -> list[Source]:
    """``deb [option=value …] uri suite component …`` lines."""
    sources = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 3 or words[0] != "deb":
            continue
        options: dict[str, str] = {}
        if words[1].startswith("["):
            end = next((number for number, word in enumerate(words) if word.endswith("]")), 0)
            for option in " ".join(words[1 : end + 1]).strip("[] ").split():
                key, _, value = option.partition("=")
                options[_OPTIONS.get(key, key.title())] = value.replace(",", " ")
            words = [words[0], *words[end + 1 :]]
        if len(words) >= 3:
            sources.append(Source([words[1]], [words[2]], words[3:], options))
    return sources


def parse_deb822(text: str) -> list[Source]:
    """Stanzas of a .sources file."""
    sources = []
    for stanza in _stanzas(text):
        types = stanza.pop("Types", "").split()
        uris, suites, components = (stanza.pop(key, "").split() for key in ("Uris", "Suites", "Components"))
        enabled = stanza.pop("Enabled", "yes").strip().lower() not in ("no", "false", "0", "off")
        if "deb" in types and enabled:
            sources.append(Source(uris, suites, components, stanza))
    return sources


def _stanzas(text: str) -> list[dict[str, str]]:
    stanzas: list[dict[str, str]] = [{}]
    key = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if not line.strip():
            stanzas.append({})
            key = ""
        elif line[0] in " \t" and key:
            stanzas[-1][key] += "\n" + line
        else:
            key, _, value = line.partition(":")
            key = key.strip().title()
            stanzas[-1][key] = value.strip()
    return [stanza for stanza in stanzas if stanza]


def sources_for(sources: Sequence[Source], host: str, suite: str, components: Sequence[str]) -> list[Source]:
    """The entries that give ``suite``: those of the host's release ``host``, with the suite's name in its place.

    suite: "" for the host's own. Entries of third parties, backports and proposed updates are left out.
    """
    bases = [host] if host and _has(sources, host) else [name for name in _ALIASES if _has(sources, name)][:1]
    if not bases:
        return []
    base, wanted = bases[0], suite or bases[0]
    companions = ("",) if wanted in _ROLLING else _COMPANIONS
    found = []
    for source in sources:
        suites = [wanted + tail for tail in companions if base + tail in source.suites]
        parts = [part for part in components if part in source.components]
        if suites and parts:
            found.append(Source(source.uris, suites, parts, source.options))
    return found


def _has(sources: Sequence[Source], suite: str) -> bool:
    return any(suite in source.suites for source in sources)


def to_text(sources: Sequence[Source], secrets: bool = True) -> str:
    """A .sources file. secrets: with user names and passwords of the URIs."""
    stanzas = []
    for source in sources:
        uris = source.uris if secrets else [_without_password(uri) for uri in source.uris]
        lines = [
            "Types: deb",
            f"URIs: {' '.join(uris)}",
            f"Suites: {' '.join(source.suites)}",
            f"Components: {' '.join(source.components)}",
        ]
        lines += [f"{key}: {value}" for key, value in source.options.items()]
        stanzas.append("\n".join(lines) + "\n")
    return "\n".join(stanzas)


def _without_password(uri: str) -> str:
    head, separator, rest = uri.partition("://")
    if not separator:
        return uri
    host, slash, path = rest.partition("/")
    return f"{head}://{host.rpartition('@')[2]}{slash}{path}"


def keyrings(sources: Sequence[Source]) -> list[str]:
    """The key files that the sources name (Signed-By), without keys that are given in place."""
    values = [source.options.get("Signed-By", "") for source in sources]
    return sorted({path for value in values for path in value.split() if path.startswith("/")})


def acquire_settings() -> str:
    """How the host fetches packages: its proxies, timeouts and checks, as lines of apt.conf(5).

    Hooks and everything else of the host's apt.conf stay out of a build.
    """
    lines = ['Acquire::Languages "none";']
    for line in tool.run(["apt-config", "dump"]):
        parts = line.partition(" ")[0].split("::")
        if parts[0] == "Acquire" and len(parts) > 1 and parts[1] not in _LEFT_OUT:
            lines.append(line)
    return "\n".join(lines) + "\n"


def download(packages: Sequence[str], work: str, output: Callable[[str], None]) -> list[str]:
    """Download packages of the host's release into ``work``, an empty directory; give their paths.

    apt-get(8) verifies them by the sources' keys. Nothing of the host's apt is changed. Raises ToolError.
    """
    sources = sources_for(host_sources(), release(), "", ("main",))
    if not sources:
        raise tool.ToolError("the host has no apt sources of its release in /etc/apt")
    for name in ("state/lists/partial", "cache/archives/partial", "debs"):
        os.makedirs(f"{work}/{name}")
    _write(f"{work}/status", "")
    _write(f"{work}/apt.sources", to_text(sources))
    _write(f"{work}/apt.conf", _private(work) + acquire_settings())
    environment = {"APT_CONFIG": f"{work}/apt.conf"}
    tool.run(["apt-get", "update"], work, output, environment)
    tool.run(["apt-get", "download", *packages], f"{work}/debs", output, environment)
    return [f"{work}/debs/{name}" for name in sorted(os.listdir(f"{work}/debs")) if name.endswith(".deb")]


def _private(work: str) -> str:
    """apt.conf(5) that keeps apt in ``work``; the host's configuration is not read (hooks in it would run)."""
    return f"""Dir::Etc::Parts "/dev/null";
Dir::Etc::Main "/dev/null";
Dir::Etc::SourceList "{work}/apt.sources";
Dir::Etc::SourceParts "/dev/null";
Dir::State "{work}/state";
Dir::State::Status "{work}/status";
Dir::Cache "{work}/cache";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
"""


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
