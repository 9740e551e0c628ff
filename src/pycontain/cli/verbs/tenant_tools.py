"""tenant: the verbs for looking and repairing, and for what is not of every day."""

from __future__ import annotations

from pycontain.cli.args import Argument, Flag, Options, Verb, integer, plain, seconds, text
from pycontain.cli.verbs import shared
from pycontain.cli.verbs.tenant import NAME, SOME_NAMES, tenants_of
from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.tenant.place import Tenants

#: As tenant/show.py has them.
_WORDS = ("running", "starting", "stopping", "suspended", "stopped", "failed", "damaged", "down")

EDIT = Verb(
    "tenant edit",
    "Change the settings of a tenant in an editor",
    (),
    (NAME,),
    handler="edit",
    description="Edit a copy of the settings with VISUAL, EDITOR or vi. What is right replaces them, as with set; an"
    " editor that fails, or settings that are not right, change nothing.",
    epilog="""
pycontain tenant edit web1
""",
)

RUNSCRIPT = Verb(
    "tenant runscript",
    "Run a script of the host in a tenant, also in one that does not run",
    (),
    (
        NAME,
        Argument("script", "The script; - is standard input.", plain, "FILE"),
        Argument("arguments", "Its arguments.", text, "ARGUMENT", optional=True, many=True),
    ),
    interspersed=False,
    handler="runscript",
    description="Copy a script into the tenant, run it there as root, and remove it. A tenant that does not run is"
    " started for it with a shell as its init, and stopped again. The exit status is the script's own.",
    epilog="""
pycontain tenant runscript web1 ./setup.sh
""",
)

PUSH = Verb(
    "tenant push",
    "Copy files into a tenant",
    (),
    (
        NAME,
        Argument("source", "A file or directory of the host; - is a tar archive on standard input."),
        Argument("target", "Where to, in the tenant."),
    ),
    handler="push",
    epilog="""
pycontain tenant push web1 ./site /srv
""",
)

PULL = Verb(
    "tenant pull",
    "Copy files out of a tenant",
    (),
    (
        NAME,
        Argument("source", "A file or directory in the tenant."),
        Argument("target", "Where to, on the host; - is a tar archive on standard output."),
    ),
    handler="pull",
    epilog="""
pycontain tenant pull web1 /var/log/syslog .
""",
)

PID = Verb(
    "tenant pid",
    "Say which tenant a process of the host's is in",
    (),
    (Argument("pid", "The number of a process, as the host has it.", plain, "PID"),),
    handler="pid",
    epilog="""
pycontain tenant pid 4711
""",
)

TOP = Verb(
    "tenant top",
    "List the processes of a tenant",
    (shared.FORMAT,),
    (NAME,),
    handler="top",
    description="List the tenant's processes with the host's PIDs and users.",
    epilog="""
pycontain tenant top web1
""",
)

STATS = Verb(
    "tenant stats",
    "Show what tenants use",
    (
        Flag("--no-stream", "Once, and not again and again."),
        shared.FORMAT,
    ),
    (SOME_NAMES,),
    handler="stats",
    epilog="""
pycontain tenant stats
""",
)

BEANCOUNTERS = Verb(
    "tenant beancounters",
    "Show what tenants hold, held at the most, may hold, and were refused",
    (shared.FORMAT,),
    (SOME_NAMES,),
    handler="beancounters",
    description="The figures in the form of /proc/user_beancounters.",
    epilog="""
pycontain tenant beancounters web1
""",
)

WAIT = Verb(
    "tenant wait",
    "Wait until a tenant is stopped, or what else one waits for",
    (
        Flag(
            "--for",
            "Words of status that end it; down: stopped, failed or damaged.",
            metavar="WORD",
            default="down",
            choices=_WORDS,
        ),
        Flag("-t, --timeout", "How long at the most; -1 waits for ever.", seconds, "SECONDS", default="-1"),
    ),
    (NAME,),
    handler="wait",
    description="Print the word that it is then; destroyed where it is gone. 1: its time is over.",
    epilog="""
pycontain tenant wait web1
pycontain tenant wait web1 --for running -t 30
""",
)

VALIDATE = Verb(
    "tenant validate",
    "Check settings",
    (),
    (Argument("files", "Names of tenants, or files (with a / or .toml).", metavar="NAME|FILE", many=True),),
    handler="validate",
    description="Print a line for each that is not right, and end with 1 where there is one.",
    epilog="""
pycontain tenant validate web1
pycontain tenant validate ./new.toml
""",
)

SCHEMA = Verb(
    "tenant schema",
    "Print the JSON schema of settings",
    (),
    (),
    handler="schema",
    epilog="""
pycontain tenant schema
""",
)

DOCTOR = Verb(
    "tenant doctor",
    "Look for what is not as it should be with tenants",
    (shared.FORMAT,),
    (),
    handler="doctor",
    description="Print a line for each finding, with the next step. Notes are no faults. 1: there are faults.",
    epilog="""
pycontain tenant doctor
""",
)


# --- what they do -------------------------------------------------------------------------------------------------


def edit(options: Options) -> int:
    """Change settings in an editor."""
    from pycontain.cli.verbs.tenant import show_outcome
    from pycontain.tenant import edit as editing

    outcome = editing.edit(tenants_of(options), options.text("tenant"))
    if outcome is not None:
        show_outcome(outcome)
    return 0


def runscript(options: Options) -> int:
    """Run a script; its exit status."""
    from pycontain.tenant import script

    arguments = options.many("arguments")
    return script.run(tenants_of(options), options.text("tenant"), options.text("script"), arguments)


def _container(found: Tenants, name: str) -> str:
    """The ID of a tenant's container. Raises Missing, Error."""
    known = found.state(found.find(name))
    if known is None or not known.container:
        raise Error(f"tenant {name} has no container: 'pycontain tenant doctor' says what can be done")
    return known.container


def _container_name(found: Tenants, text: str) -> str:
    """The name of a tenant's container, which errors show. Raises Missing, Error."""
    from pycontain.tenant import place

    _container(found, text)
    return place.container_name(found.find(text))


def push(options: Options) -> int:
    """Copy into a tenant."""
    from pycontain.engine.copy import Job, copy

    found = tenants_of(options)
    container = _container_name(found, options.text("tenant"))
    copy(found.paths, Job(container, options.text("target"), options.text("source"), into=True))
    return 0


def pull(options: Options) -> int:
    """Copy out of a tenant."""
    from pycontain.engine.copy import Job, copy

    found = tenants_of(options)
    container = _container_name(found, options.text("tenant"))
    copy(found.paths, Job(container, options.text("source"), options.text("target"), into=False))
    return 0


def pid(options: Options) -> int:
    """Print the name of the tenant that a process is in."""
    from pycontain.cli import table
    from pycontain.tenant import owner

    number = integer(1, (1 << 31) - 1)(options.text("pid"))
    table.show(f"{owner.of_pid(tenants_of(options), number)}\n")
    return 0


def top(options: Options) -> int:
    """List the processes."""
    import time

    from pycontain.cli import table
    from pycontain.engine import top as processes

    found = tenants_of(options)
    rows, now = processes.rows(found.paths, _container_name(found, options.text("tenant"))), time.time()
    table.show_list(
        options.text("format"), processes.HEADERS, [row.cells(now) for row in rows], [row.record() for row in rows]
    )
    return 0


def _as_containers(options: Options, counters: bool) -> int:
    """What pycontain stats does, for the containers of tenants."""
    from pycontain.cli.verbs import stats as verb
    from pycontain.tenant import show

    found = tenants_of(options)
    names = [found.find(name) for name in options.many("tenants")]
    if not names:
        names = [name for name in found.names() if show.status(found, name).pid]
        if not names:
            raise Error("no tenant runs: 'pycontain tenant list' lists those that exist")
    values: dict[str, object] = {flag.key: False if flag.is_bool else flag.default for flag in verb.STATS.flags}
    values |= {"containers": [_container(found, name) for name in names], "format": options.text("format")}
    values |= {"beancounters": counters, "no-stream": counters or options.flag("no-stream")}
    passed = Options(verb.STATS, values)
    passed.root, passed.run_root = options.root, options.run_root
    return verb.main(passed)


def stats(options: Options) -> int:
    """Show what tenants use."""
    return _as_containers(options, False)


def beancounters(options: Options) -> int:
    """Show beancounters."""
    return _as_containers(options, True)


def wait(options: Options) -> int:
    """Wait for a word, print it."""
    from pycontain.cli import table
    from pycontain.tenant import waiting

    wanted, patience = options.text("for"), options.number("timeout")
    words = waiting.DOWN if wanted == "down" else (wanted,)
    word = waiting.wait(tenants_of(options), options.text("tenant"), words, None if patience < 0 else patience)
    table.show(f"{word}\n")
    return 0


def validate(options: Options) -> int:
    """Print what is not right."""
    import sys

    from pycontain.tenant import file

    found = tenants_of(options)
    status = 0
    for one in options.many("files"):
        try:
            path = one if "/" in one or one.endswith(".toml") else found.settings_path(found.find(one))
            file.read(path)
        except Error as error:
            sys.stderr.write(f"pycontain: {error.message}\n")
            status = 1
    return status


def schema(options: Options) -> int:
    """Print the schema."""
    from pycontain.cli import table
    from pycontain.tenant import settings

    table.show(table.json_pretty(settings.schema()))
    return 0


def doctor(options: Options) -> int:
    """Print what is not as it should be."""
    from pycontain.cli import table
    from pycontain.tenant import doctor as examination

    found = examination.examine(tenants_of(options))
    if options.text("format") == "json":
        table.show(table.json_lines(one.record() for one in found))
    else:
        table.show("".join(f"{table.printable(one.line())}\n" for one in found))
    return 1 if any(not one.note for one in found) else 0
