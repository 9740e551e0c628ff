"""tenant: the everyday verbs of VPS-style guests."""

from __future__ import annotations

from pycontain.cli.args import Argument, Flag, Options, Verb, plain, seconds, text
from pycontain.cli.verbs import shared, tenant_flags, tenant_many, tenant_start
from pycontain.cli.verbs.each import each
from pycontain.engine.paths import Paths
from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.tenant.change import Outcome
    from pycontain.tenant.place import Tenants

NAME = Argument("tenant", "A tenant's name or number.", metavar="NAME", complete="tenant")
NAMES = Argument("tenants", "Tenants' names or numbers.", metavar="NAME", many=True, complete="tenant")
SOME_NAMES = Argument(
    "tenants", "Tenants' names or numbers.", metavar="NAME", optional=True, many=True, complete="tenant"
)
FAST = Flag("--fast", "Kill it at once, without asking its init.")
TIMEOUT = Flag(
    "-t, --timeout",
    "How long to wait before SIGKILL; -1 waits for ever (default: its boot.stop_timeout).",
    seconds,
    "SECONDS",
)
SHUTDOWN = Flag(
    "--shutdown",
    "As when the host goes down: suspend to the disk those whose boot.shutdown says so, which --all means, too.",
)


def check_end(options: Options) -> None:
    """Either at once or after a time. Raises UsageError."""
    if options.flag("fast") and options.has("timeout"):
        raise UsageError("--fast and --timeout cannot be together: give one of them")


def check_stop(options: Options) -> None:
    """Raises UsageError."""
    check_end(options)
    if options.flag("shutdown") and options.flag("fast"):
        raise UsageError("--fast and --shutdown cannot be together: give one of them")
    tenant_many.check_all(options)


CREATE = Verb(
    "tenant create",
    "Make a tenant from a template",
    (
        Flag("--template", "Image that it is made from, such as debian-vps.", plain, "IMAGE"),
        Flag("--like", "Take the settings of another tenant, but for its addresses.", plain, "NAME"),
        Flag(
            "--ssh-key",
            "File with public keys, by which one may log in as its root; - reads standard input.",
            plain,
            "FILE",
            repeat=True,
        ),
        Flag("--id", "Its number (default: the next free one from 101).", text, "NUMBER"),
        *tenant_flags.FLAGS,
    ),
    (Argument("tenant", "The new tenant's name.", metavar="NAME"),),
    handler="create",
    unknown=tenant_flags.unknown,
    description="Make a tenant: its settings file, its container, and a number; start starts it. A settings file of"
    " that name that is there already is used, with what the flags change.",
    epilog="""
pycontain tenant create web1 --template debian-vps --memory 512M --ip 10.88.1.10
pycontain tenant create web2 --like web1 --ip 10.88.1.11
""",
)


def _check_start(options: Options) -> None:
    """Raises UsageError."""
    tenant_many.check_all(options)
    tenant_start.check(options)
    if options.flag("all") and (options.flag("rescue") or options.flag("wait")):
        raise UsageError("--all cannot be together with --wait or --rescue: name tenants")


START = Verb(
    "tenant start",
    "Start tenants",
    (*tenant_start.FLAGS, tenant_many.ALL, tenant_many.ONBOOT, tenant_many.PARALLEL),
    (SOME_NAMES,),
    handler="start",
    check=_check_start,
    description="Start each tenant by its settings as they are now. One that runs is no error.",
    epilog="""
pycontain tenant start web1 --wait
pycontain tenant start web1 --rescue
""",
)

STOP = Verb(
    "tenant stop",
    "Stop tenants",
    (FAST, TIMEOUT, SHUTDOWN, tenant_many.ALL, tenant_many.PARALLEL),
    (SOME_NAMES,),
    handler="stop",
    check=check_stop,
    description="Ask each tenant's init to power off, kill what is left of it after a time, and wait until it is gone."
    " One that does not run is no error.",
    epilog="""
pycontain tenant stop web1
pycontain tenant stop --fast web1
""",
)

RESTART = Verb(
    "tenant restart",
    "Stop tenants and start them again",
    (FAST, TIMEOUT),
    (NAMES,),
    handler="restart",
    check=check_end,
    epilog="""
pycontain tenant restart web1
""",
)

SUSPEND = Verb(
    "tenant suspend",
    "Freeze tenants: their processes stand still and keep their memory",
    (
        Flag(
            "--to-disk",
            "Write the processes with their memory to the disk, by CRIU, and end them: resume and start let them go on,"
            " after a restart of the host, too.",
        ),
    ),
    (NAMES,),
    handler="suspend",
    epilog="""
pycontain tenant suspend web1
pycontain tenant suspend --to-disk web1
""",
)

RESUME = Verb(
    "tenant resume",
    "Let tenants that are suspended go on, from the disk as well",
    (),
    (NAMES,),
    handler="resume",
    epilog="""
pycontain tenant resume web1
""",
)

DESTROY = Verb(
    "tenant destroy",
    "Remove tenants with their files, snapshots and settings",
    (Flag("-f, --force", "Kill what runs, and give up what is suspended on the disk."),),
    (NAMES,),
    handler="destroy",
    epilog="""
pycontain tenant destroy web1
""",
)

RENAME = Verb(
    "tenant rename",
    "Give a tenant that does not run another name",
    (),
    (NAME, Argument("name", "The new name, which nobody has.", metavar="NEW-NAME")),
    handler="rename",
    epilog="""
pycontain tenant rename web1 www
""",
)

STATUS = Verb(
    "tenant status",
    "Say in one word what a tenant is doing",
    (Flag("-v, --verbose", "Say more: why, and which settings wait for a restart."),),
    (NAME,),
    handler="status",
    description="Print running, starting, stopping, suspended (exit status 0), stopped (3), failed (1) or damaged (5)."
    " 4: there is no such tenant.",
    epilog="""
pycontain tenant status web1
""",
)


def fields(value: str) -> list[str]:
    """``name,status,ip``."""
    found = [one.strip() for one in value.split(",")]
    if not all(found):
        raise UsageError(f"{value!r} is not a list of fields such as name,status,ip")
    return found


LIST = Verb(
    "tenant list",
    "List tenants",
    (
        Flag(
            "-o, --output",
            "Fields, with commas: id, name, status, reason, ip, hostname, template, description, onboot, order, memory,"
            " cpus, processes, disk, disk-used, inodes-used, pid, started, pending, container, or any setting, such as"
            " boot.stop_timeout.",
            fields,
            "FIELD,...",
        ),
        Flag("-s, --sort", "Field to sort by; -FIELD is the other way round.", plain, "FIELD", default="id"),
        Flag("-H, --no-header", "No line of headings."),
        shared.FORMAT,
    ),
    (SOME_NAMES,),
    handler="list_",
    epilog="""
pycontain tenant list
pycontain tenant list -H -o name,ip -s name
""",
)

SET = Verb(
    "tenant set",
    "Change the settings of a tenant, also while it runs",
    (
        Flag("--unset", "A setting that gets its default again, such as memory.limit.", plain, "KEY", repeat=True),
        *tenant_flags.FLAGS,
    ),
    (
        NAME,
        Argument("settings", "Settings by their keys.", text, "KEY=VALUE", optional=True, many=True),
    ),
    handler="set_",
    unknown=tenant_flags.unknown,
    description="Change settings, in the file and, where the tenant runs and the kernel can, at once; what waits for a"
    " restart is printed. Where one change is refused none is made.",
    epilog="""
pycontain tenant set web1 --memory 1G --cpus 1.5
pycontain tenant set web1 boot.stop_timeout=30
""",
)

GET = Verb(
    "tenant get",
    "Show settings of a tenant, with the defaults",
    (shared.FORMAT,),
    (NAME, Argument("key", "A setting or a table of them (default: all).", metavar="KEY", optional=True)),
    handler="get",
    epilog="""
pycontain tenant get web1 memory.limit
""",
)

EXEC = Verb(
    "tenant exec",
    "Run a command in a running tenant",
    shared.EXEC,
    (NAME, Argument("command", "Command and its arguments.", text, many=True)),
    interspersed=False,
    handler="exec_",
    description="Run COMMAND in the tenant, and wait for its end. The exit status is the command's own.",
    epilog="""
pycontain tenant exec web1 apt-get update
""",
)

ENTER = Verb(
    "tenant enter",
    "Log in to a running tenant as root, without a password",
    (shared.DETACH_KEYS,),
    (NAME,),
    handler="enter",
    epilog="""
pycontain tenant enter web1
""",
)


# --- what they do -------------------------------------------------------------------------------------------------


def tenants_of(options: Options) -> Tenants:
    """Where this command's tenants are."""
    from pycontain.tenant.place import Tenants

    return Tenants(Paths(options.root, options.run_root), options.tenants)


def create(options: Options) -> int:
    """Make a tenant."""
    from pycontain.tenant import life

    def changes(before: dict[str, Any]) -> dict[str, Any]:
        first: dict[str, Any] = {}
        if options.has("id"):
            first["id"] = id_number(options.text("id"))
        if options.has("template"):
            first["template"] = options.text("template")
        return first | tenant_flags.changes(options, before, fresh=True)

    keys = tenant_start.ssh_keys(options.many("ssh-key"))
    life.create(tenants_of(options), options.text("tenant"), changes, options.text("like"), keys)
    return 0


def id_number(value: str) -> int:
    """A tenant's number, of --id. Raises UsageError."""
    if not (value.isascii() and value.isdigit() and len(value) <= 10 and 1 <= int(value) <= 0x7FFFFFFF):
        raise UsageError(f"--id: {value!r} is not a number of 1 or more")
    return int(value)


def start(options: Options) -> int:
    """Start tenants."""
    if options.flag("all"):
        return tenant_many.start_all(options)
    return tenant_start.start(options, tenants_of(options))


def stop(options: Options) -> int:
    """Stop tenants."""
    if options.flag("all"):
        return tenant_many.stop_all(options)
    from pycontain.tenant import life

    found, patience = tenants_of(options), _patience(options)
    if options.flag("shutdown"):
        return each(options.many("tenants"), lambda name: tenant_many.warn(life.down(found, name, patience)))
    return each(options.many("tenants"), lambda name: life.stop(found, name, patience, options.flag("fast")))


def _patience(options: Options) -> int | None:
    return options.number("timeout") if options.has("timeout") else None


def restart(options: Options) -> int:
    """Stop tenants and start them again."""
    from pycontain.tenant import life

    found, patience = tenants_of(options), _patience(options)
    return each(options.many("tenants"), lambda name: life.restart(found, name, patience, options.flag("fast")))


def suspend(options: Options) -> int:
    """Freeze tenants."""
    from pycontain.tenant import life

    found = tenants_of(options)
    if options.flag("to-disk"):
        return each(options.many("tenants"), lambda name: life.suspend_to_disk(found, name))
    return each(options.many("tenants"), lambda name: life.suspend(found, name, True))


def resume(options: Options) -> int:
    """Thaw tenants."""
    from pycontain.tenant import life

    found = tenants_of(options)
    return each(options.many("tenants"), lambda name: life.suspend(found, name, False))


def destroy(options: Options) -> int:
    """Remove tenants."""
    from pycontain.tenant import life

    found = tenants_of(options)
    return each(options.many("tenants"), lambda name: life.destroy(found, name, options.flag("force")))


def rename(options: Options) -> int:
    """Give a tenant another name."""
    from pycontain.tenant.rename import rename as rename_tenant

    rename_tenant(tenants_of(options), options.text("tenant"), options.text("name"))
    return 0


def status(options: Options) -> int:
    """Print one word, end with its number."""
    from pycontain.cli import table
    from pycontain.tenant import show

    found = tenants_of(options)
    row = show.Row(found, found.find(options.text("tenant")))
    table.show(f"{row.status.word}\n")
    if options.flag("verbose"):
        if reason := row.value("reason"):
            table.show(f"reason: {table.printable(str(reason))}\n")
        if pending := row.value("pending"):
            table.show(f"waits for a restart: {show.cell(pending)}\n")
    return show.WORDS[row.status.word]


def list_(options: Options) -> int:
    """List tenants."""
    from pycontain.cli import table
    from pycontain.tenant import show

    chosen = options.one("output", list) or list(show.DEFAULT_FIELDS)
    rows = show.rows(tenants_of(options), options.many("tenants"), chosen, options.text("sort"))
    if options.text("format") == "json":
        table.show(table.json_lines(rows))
        return 0
    cells = [[show.cell(row[field]) for field in chosen] for row in rows]
    bare = options.flag("no-header")
    text = table.columns(["" if bare else field.upper() for field in chosen], cells)
    table.show(text.partition("\n")[2] if bare else text)
    return 0


def set_(options: Options) -> int:
    """Change settings, print what waits for a restart."""
    from pycontain.tenant import assign, change

    words, unset = options.many("settings"), options.many("unset")
    if not words and not unset and not tenant_flags.any_given(options):
        raise UsageError("nothing to change: give a flag such as --memory 512M, or KEY=VALUE")
    given = assign.changes(words, unset)

    def changes(before: dict[str, Any]) -> dict[str, Any]:
        assign.check_unset(unset, before)
        return tenant_flags.changes(options, before, fresh=False) | given

    found = tenants_of(options)
    show_outcome(change.set_keys(found, options.text("tenant"), changes))
    return 0


def show_outcome(outcome: Outcome) -> None:
    """Print what waits, and what could not be done."""
    import sys

    from pycontain.cli import table

    for warning in outcome.warnings:
        sys.stderr.write(f"pycontain: warning: {table.printable(warning)}\n")
    if outcome.waiting:
        table.show(f"waits for a restart: {', '.join(outcome.waiting)}\n")


def get(options: Options) -> int:
    """Print settings."""
    from pycontain.cli import table
    from pycontain.tenant import show

    value = show.get(tenants_of(options), options.text("tenant"), options.text("key"))
    if options.text("format") == "json":
        table.show(table.json_pretty(value))
        return 0
    if isinstance(value, dict):
        from pycontain.tenant.settings import flat

        prefix = f"{options.text('key')}." if options.text("key") else ""
        lines = [f"{prefix}{key} = {_toml(content)}" for key, content in flat(value).items()]
    else:
        lines = [value if isinstance(value, str) else _toml(value)]
    # they may have come with somebody's archive
    table.show("".join(f"{table.printable(line)}\n" for line in lines))
    return 0


def _toml(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def exec_(options: Options) -> int:
    """Become a command in the tenant."""
    from pycontain.cli import values
    from pycontain.engine.execute import ExecRequest

    request = ExecRequest("", options.many("command"))
    request.terminal, request.interactive = options.flag("tty"), options.flag("interactive")
    request.detach = options.flag("detach")
    request.env = values.environment(options)
    request.workdir, request.user = options.text("workdir"), options.text("user")
    request.detach_keys = options.one("detach-keys", bytes) or b""
    return _execute(options, request)


#: root's own shell is what passwd says; it is not known here, and these are what there is.
_SHELL = "if [ -x /bin/bash ]; then exec /bin/bash -l; fi; exec /bin/sh -l"


def enter(options: Options) -> int:
    """Become a shell in the tenant."""
    import os

    from pycontain.engine.execute import ExecRequest

    request = ExecRequest("", ["/bin/sh", "-c", _SHELL])
    request.interactive = True
    request.terminal = os.isatty(0)
    request.user = "root"
    request.env = {"TERM": os.environ["TERM"]} if "TERM" in os.environ else {}
    request.detach_keys = options.one("detach-keys", bytes) or b""
    return _execute(options, request)


def _execute(options: Options, request: Any) -> int:
    from pycontain.engine.execute import execute
    from pycontain.kernel.errors import Error
    from pycontain.tenant import show

    found = tenants_of(options)
    name = found.find(options.text("tenant"))
    status = show.status(found, name)
    known = found.state(name)
    if not status.pid or known is None:
        raise Error(f"tenant {name} is {status.word}: 'pycontain tenant start {name}' starts it")
    if status.word == show.SUSPENDED:
        raise Error(f"tenant {name} is suspended: 'pycontain tenant resume {name}' lets it go on")
    request.container = known.container
    execute(found.paths, request)
