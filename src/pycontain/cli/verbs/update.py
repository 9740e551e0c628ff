"""update: other limits for containers that exist."""

from __future__ import annotations

import sys

from pycontain.cli import table, values
from pycontain.cli.args import Flag, Options, Verb
from pycontain.cli.verbs import limits, shared, storage
from pycontain.cli.verbs.each import each
from pycontain.engine.paths import Paths
from pycontain.kernel.errors import UsageError

_FLAGS = (
    *limits.FLAGS,
    Flag(
        "--restart",
        "When to start it again: no, on-failure[:N], always, unless-stopped.",
        values.restart,
        "POLICY",
    ),
    storage.flag(limits.GROUP),
)


def check(options: Options) -> None:
    """Refuse flags that cannot be together, and none at all. Raises UsageError."""
    limits.check(options)
    storage.read(options)
    if not any(options.has(flag.key) for flag in _FLAGS):
        raise UsageError("nothing to change: give a flag such as --memory 512m (for all of them: --help)")


UPDATE = Verb(
    "update",
    "Change the limits of containers, also while they run",
    _FLAGS,
    (shared.CONTAINERS,),
    check=check,
    description="Change limits and restart policy. What no flag names stays as it is, and -1 takes a limit away. The"
    " limits of a container that runs change at once, all of them or, where one is refused, none; its next start has"
    " them, too.",
    epilog="""
pycontain update -m 512m --memory-swap 1g web
pycontain update --cpus 1.5 --pids-limit -1 web db
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """Change each container and print its name."""
    from pycontain.engine import owned, update

    paths = Paths(options.root, options.run_root)
    restart = options.one("restart", values.Restart)
    policy = (restart.policy, restart.maximum) if restart is not None else None
    change = update.Change(limits.read(options), policy, storage.read(options))

    def act(text: str) -> None:
        owned.refuse(paths, text, "update")
        for warning in update.update(paths, text, change):
            sys.stderr.write(f"pycontain: warning: {table.printable(warning)}\n")

    return each(options.many("containers"), act)
