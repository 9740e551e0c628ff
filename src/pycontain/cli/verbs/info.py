"""info and version: this pycontain and this host."""

from __future__ import annotations

from pycontain.cli.args import Verb
from pycontain.cli.verbs import shared

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
