"""tenant: its console, and root's password."""

from __future__ import annotations

from pycontain.cli.args import Flag, Options, Verb, integer
from pycontain.cli.verbs import shared
from pycontain.cli.verbs.tenant import NAME, tenants_of
from pycontain.kernel.errors import Error, UsageError

CONSOLE = Verb(
    "tenant console",
    "Connect to a tenant's console, whether it runs or not",
    (
        shared.DETACH_KEYS,
        Flag(
            "-n, --tail",
            "How many lines of what it has shown come first.",
            integer(0, 1000000),
            "NUMBER",
            default="200",
        ),
        Flag("--once", "Do not wait for a start: end where it does not run, and when it ends."),
    ),
    (NAME,),
    handler="console",
    description="Show what the console has shown, then connect this terminal to it until the detach keys are typed."
    " Where the tenant does not run, and when it has ended, wait for its next start; ^C ends the waiting.",
    epilog="""
pycontain tenant console web1
pycontain tenant console -n 1000 --once web1
""",
)

PASSWD = Verb(
    "tenant passwd",
    "Give root of a tenant a password",
    (),
    (NAME,),
    handler="passwd",
    description="Ask for a password, twice, or read it from standard input where that is no terminal, and write it,"
    " hashed, into the tenant's /etc/shadow, whether it runs or not.",
    epilog="""
pycontain tenant passwd web1
""",
)


# --- what they do -------------------------------------------------------------------------------------------------


def console(options: Options) -> int:
    """Show what there was and be its terminal."""
    from pycontain.tenant import console as consoles

    found = tenants_of(options)
    name = found.find(options.text("tenant"))
    known = found.state(name)
    if known is None or not known.container:
        raise Error(f"tenant {name}: it has no container yet, so it has no console")
    keys = options.one("detach-keys", bytes) or b""
    return consoles.show(
        found.paths, known.container, name, keys, options.number("tail"), wait=not options.flag("once")
    )


def passwd(options: Options) -> int:
    """Change root's password."""
    from pycontain.tenant import life, password
    from pycontain.tenant.hold import hold
    from pycontain.tenant.setup import steps

    found = tenants_of(options)
    name = found.find(options.text("tenant"))
    text = _read(name)
    password.check(text)
    with hold(found, name) as tenant:
        template = life.template_of(tenant, tenant.settings())
        steps.password(tenant, password.hashed(text, template.distribution))
    return 0


def _read(name: str) -> str:
    """From the terminal, unseen and twice, or one line of standard input. Raises UsageError."""
    import os
    import sys

    if not os.isatty(0):
        return sys.stdin.readline().rstrip("\n")
    import getpass

    try:
        first = getpass.getpass(f"New password of root in {name}: ")
        second = getpass.getpass("Again: ")
    except EOFError:
        raise UsageError("no password was typed: nothing was changed") from None
    if second != first:
        raise UsageError("the two passwords are not the same: nothing was changed")
    return first
