"""inspect: all that is known of containers."""

from __future__ import annotations

from pycontain.cli.args import Flag, Verb, text
from pycontain.cli.verbs import shared
from pycontain.kernel.errors import UsageError


def format(value: str) -> str:
    """``json``; Docker's Go templates are refused with what to do instead."""
    if value == "json":
        return text(value)
    if "{{" in value:
        raise UsageError(f"{value!r} is a Go template, which is not supported: pick from the JSON with jq")
    raise UsageError(f"{value!r} is not json, the only format there is")


#: For ``image inspect`` and ``network inspect`` as well.
FORMAT = Flag("-f, --format", "json, the only format there is; pick from it with jq.", format, "json", default="json")

INSPECT = Verb(
    "inspect",
    "Show all that is known of containers, as JSON",
    (FORMAT,),
    (shared.CONTAINERS,),
    description="Print one JSON array with an object for each container: what it was made from, its state,"
    " process, addresses, mounts and limits, and where its bundle lies.",
    epilog="""
pycontain inspect web | jq '.[0].State'
""",
)
