"""info and version: this pycontain and this host."""

from __future__ import annotations

from pycontain.cli.args import Options, Verb
from pycontain.cli.verbs import shared
from pycontain.engine.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.facts import Section

INFO = Verb(
    "info",
    "Show what this host offers and where things are kept",
    (shared.FORMAT,),
    description="Show the directories, the containers and images there are, the kernel, its cgroup controllers and"
    " features, and what is missing.",
    epilog="""
pycontain info
""",
)

VERSION = Verb(
    "version",
    "Show the versions of pycontain, its helper and the OCI specification",
    (shared.FORMAT,),
    handler="version",
    epilog="""
pycontain version
""",
)


# --- what they do ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """Show what there is and what is missing."""
    from pycontain.cli import table
    from pycontain.engine import facts, info

    sections = info.gather(Paths(options.root, options.run_root))
    if options.text("format") == "json":
        table.show(table.json_pretty(facts.document(sections)))
    else:
        table.show("\n".join([*map(_section, sections), _problems(sections)]))
    return 0


def _section(section: Section) -> str:
    from pycontain.cli.table import printable

    width = max(len(fact.name) for fact in section.facts)
    lines = [f"  {fact.name:<{width}}   {printable(fact.text)}\n" for fact in section.facts]
    return f"{section.title}\n{''.join(lines)}"


def _problems(sections: list[Section]) -> str:
    from pycontain.cli.table import printable

    lines = [
        f"  {section.title}, {fact.name}: {printable(fact.problem)}\n"
        for section in sections
        for fact in section.facts
        if fact.problem
    ]
    return f"What is missing or will be in the way\n{''.join(lines) or '  nothing'}"


def version(options: Options) -> int:
    """Show the versions."""
    from pycontain.cli import table
    from pycontain.engine import version as parts

    found = parts.versions()
    if options.text("format") == "json":
        table.show(table.json_pretty(found))
        return 0
    rows = {
        "pycontain": found["Pycontain"],
        "helper": f"protocol {found['HelperProtocol']} ({found['Helper']})",
        "OCI spec": found["OciVersion"],
        "Python": found["Python"],
        "kernel": f"{found['Kernel']} {found['Machine']}",
    }
    table.show("".join(f"{name:<12}{value}\n" for name, value in rows.items()))
    return 0
