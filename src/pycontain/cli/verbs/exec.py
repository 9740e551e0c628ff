"""exec: a further command in a running container."""

from __future__ import annotations

from pycontain.cli import values
from pycontain.cli.args import Argument, Flag, Options, Verb, text
from pycontain.cli.verbs import shared
from pycontain.engine.paths import Paths

EXEC = Verb(
    "exec",
    "Run a command in a running container",
    (
        *shared.EXEC,
        Flag("--privileged", "Give it all capabilities, and a filter for them."),
    ),
    (
        shared.CONTAINER,
        Argument("command", "Command and its arguments.", text, many=True),
    ),
    interspersed=False,
    description="Run COMMAND beside the container's own, with the same namespaces, limits and confinement,"
    " and wait for its end. The exit status is the command's own, as with run.",
    epilog="""
pycontain exec -it web sh
pycontain exec -u 1000 -w /srv -e LANG=C web ls -l
""",
)


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """Become the command in the container."""
    from pycontain.engine.execute import ExecRequest, execute

    request = ExecRequest(options.text("container"), options.many("command"))
    request.terminal, request.interactive = options.flag("tty"), options.flag("interactive")
    request.detach, request.privileged = options.flag("detach"), options.flag("privileged")
    request.env = values.environment(options)
    request.workdir, request.user = options.text("workdir"), options.text("user")
    request.detach_keys = options.one("detach-keys", bytes) or b""
    execute(Paths(options.root, options.run_root), request)
