"""Flags and arguments that several verbs have."""

from __future__ import annotations

from pycontain.cli import values
from pycontain.cli.args import Argument, Flag, plain, seconds

TERMINAL = "Terminal"
PROCESS = "Process"

INTERACTIVE = Flag("-i, --interactive", "Keep standard input open and pass it on.", group=TERMINAL)
TTY = Flag("-t, --tty", "Give the command a terminal.", group=TERMINAL)
DETACH_KEYS = Flag(
    "--detach-keys",
    "Keys that leave the container and let it run: characters or ctrl-X, with commas between; '' for none.",
    values.detach_keys,
    "KEYS",
    default="ctrl-p,ctrl-q",
    group=TERMINAL,
)
SIG_PROXY = Flag(
    "--sig-proxy",
    "Pass the signals that pycontain receives on to the command; --sig-proxy=false does not.",
    default="true",
    group=TERMINAL,
)

ENV = Flag(
    "-e, --env",
    "Set an environment variable; NAME alone passes on the caller's.",
    values.variable,
    "NAME[=VALUE]",
    repeat=True,
    group=PROCESS,
)
ENV_FILE = Flag(
    "--env-file",
    "Read environment variables from a file, one a line; --env wins over it.",
    values.env_file,
    "FILE",
    repeat=True,
    group=PROCESS,
)
WORKDIR = Flag("-w, --workdir", "Working directory in the container.", values.absolute, "DIR", group=PROCESS)
USER = Flag(
    "-u, --user", "User, and group, that the command runs as: names or numbers.", plain, "USER[:GROUP]", group=PROCESS
)
EXEC = (
    Flag("-d, --detach", "Leave the command running in the background."),
    INTERACTIVE,
    TTY,
    DETACH_KEYS,
    ENV,
    ENV_FILE,
    WORKDIR,
    USER,
)

TIME = Flag(
    "-t, --timeout, --time",
    "How long to wait after the stop signal before SIGKILL; -1 waits for ever (default: what --stop-timeout set).",
    seconds,
    "SECONDS",
)
FORMAT = Flag("--format", "How to print.", metavar="table|json", default="table", choices=("table", "json"))
QUIET = Flag("-q, --quiet", "Print IDs only.")
NO_TRUNC = Flag("--no-trunc", "Print IDs and commands in full.")

CONTAINER = Argument("container", "A container's name, ID, or unique beginning of the ID.", complete="container")
CONTAINERS = Argument("containers", "Containers' names or IDs.", metavar="CONTAINER", many=True, complete="container")
SOME_CONTAINERS = Argument(
    "containers", "Containers' names or IDs.", metavar="CONTAINER", optional=True, many=True, complete="container"
)
