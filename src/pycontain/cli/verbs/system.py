"""system: the host under the containers."""

from __future__ import annotations

from pycontain.cli.args import Flag, Options, Verb, integer

TUNE = Verb(
    "system tune",
    "Raise the host's limits for many containers",
    (
        Flag("--guests", "For so many.", integer(1, 1000000), "NUMBER", default="1000"),
        Flag("--dry-run", "Print what would be set, in the form of sysctl.d(5), and set nothing."),
        Flag("--save", "Also write it to /etc/sysctl.d/90-pycontain.conf, for the boots to come."),
    ),
    (),
    handler="tune",
    description="Raise the sysctls that are too low for so many containers; none is lowered. pycontain info says which"
    " limits there are and how many containers each is enough for.",
    epilog="""
pycontain system tune --dry-run
pycontain system tune --guests 2000 --save
""",
)


# --- what it does -------------------------------------------------------------------------------------------------


def tune(options: Options) -> int:
    """Raise what is too low, or say what that would be."""
    from pycontain.cli import table
    from pycontain.engine import capacity
    from pycontain.kernel import rootless
    from pycontain.kernel.errors import Error

    guests = options.number("guests")
    found = capacity.limits()
    changes = capacity.plan(found, guests)
    content = capacity.text(changes, found, guests)
    if not options.flag("dry-run"):
        if rootless.user() >= 0:
            raise Error("system tune: these limits are the host's: be root, or take --dry-run to see them")
        capacity.apply(changes)
        if options.flag("save"):
            capacity.save(content)
    table.show(content)
    return 0
