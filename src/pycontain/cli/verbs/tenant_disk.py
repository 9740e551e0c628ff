"""tenant: its files as a whole: snapshots, a root installed anew, export and import."""

from __future__ import annotations

from pycontain.cli.args import Argument, Flag, Options, Verb, plain, text
from pycontain.cli.verbs import tenant_start
from pycontain.cli.verbs.tenant import NAME, tenants_of
from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.tenant.snapshots import Snapshot

_ACTIONS = ("create", "list", "restore", "rm")
#: flag → the only action that has it
_OF_ONE = {"description": "create", "format": "list", "no-header": "list"}


def action(value: str) -> str:
    """What is to be done with snapshots. Raises UsageError."""
    if value not in _ACTIONS:
        raise UsageError(f"{value!r} is none of {', '.join(_ACTIONS)}")
    return value


def check_snapshot(options: Options) -> None:
    """Refuse what the action has not. Raises UsageError."""
    chosen = options.text("action")
    if options.has("snapshot") == (chosen == "list"):
        raise UsageError(
            "list takes no name of a snapshot" if chosen == "list" else f"{chosen} needs the name of a snapshot"
        )
    for flag, only in _OF_ONE.items():
        if options.has(flag) and chosen != only:
            raise UsageError(f"--{flag} is for {only} only")


SNAPSHOT = Verb(
    "tenant snapshot",
    "Keep the files of a tenant as they are, list what is kept, go back to it, remove it",
    (
        Flag("--description", "What it is for (create).", text, "TEXT"),
        Flag("-H, --no-header", "No line of headings (list)."),
        Flag("--format", "How to print (list): table or json.", plain, "FORMAT"),
    ),
    (
        Argument("action", "create, list, restore or rm.", action),
        NAME,
        Argument("snapshot", "Name of the snapshot.", optional=True),
    ),
    handler="snapshot",
    check=check_snapshot,
    description="create: keep a tenant's files; one that runs stands still meanwhile. list: what is kept. restore: the"
    " files are again those of the snapshot, which stays; the tenant has to be stopped, and what it has is lost. rm:"
    " remove a snapshot.",
    epilog="""
pycontain tenant snapshot create web1 before-upgrade --description 'bookworm as it was'
pycontain tenant snapshot list web1
pycontain tenant snapshot restore web1 before-upgrade
pycontain tenant snapshot rm web1 before-upgrade
""",
)

REINSTALL = Verb(
    "tenant reinstall",
    "Give a tenant a new root from a template; its settings stay",
    (
        Flag("--template", "Another template (default: its own, as it is now).", plain, "IMAGE"),
        Flag("--keep-old", "Keep the root that it had as a snapshot, before-reinstall."),
        Flag(
            "--ssh-key",
            "File with public keys, by which one may log in as its root; - reads standard input.",
            plain,
            "FILE",
            repeat=True,
        ),
    ),
    (NAME,),
    handler="reinstall",
    description="The tenant has to be stopped. All of its files are those of the template then; snapshots stay.",
    epilog="""
pycontain tenant reinstall web1 --template debian-vps --keep-old
""",
)

EXPORT = Verb(
    "tenant export",
    "Write a tenant's settings and files to a tar archive",
    (
        Flag("--zstd", "Compress it by zstd; also where FILE ends in .zst."),
        Flag("--snapshot", "A snapshot's files, not those of now.", plain, "SNAPSHOT"),
    ),
    (NAME, Argument("file", "Where to; - is standard output.")),
    handler="export",
    description="A tenant that runs stands still meanwhile. The files of its template are not in the archive: where it"
    " is imported the template has to be there.",
    epilog="""
pycontain tenant export web1 web1.tar.zst
pycontain tenant export web1 - | ssh other pycontain tenant import - --template debian-vps
""",
)

IMPORT = Verb(
    "tenant import",
    "Make a tenant from an archive of tenant export",
    (
        Flag("--name", "Its name (default: as in the archive).", plain, "NAME"),
        Flag("--id", "Its number (default: the next free one from 101).", text, "NUMBER"),
        Flag("--template", "Image that it is to lie on, whichever it was made from.", plain, "IMAGE"),
        Flag("--new-addresses", "With --trust: all the same without its addresses, which another tenant has."),
        Flag("--trust", "Also take the settings that reach beyond the tenant: see pycontain-tenant(8)."),
    ),
    (Argument("file", "The archive, compressed or not; - is standard input."),),
    handler="import_",
    description="Print the new tenant's name. Of settings that reach beyond the tenant none is taken without --trust.",
    epilog="""
pycontain tenant import web1.tar.zst
pycontain tenant import web1.tar.zst --name web2 --trust --new-addresses
""",
)


# --- what they do -------------------------------------------------------------------------------------------------


def snapshot(options: Options) -> int:
    """One of the actions."""
    from pycontain.tenant import snapshot as snapshots

    found, name = tenants_of(options), options.text("tenant")
    chosen, which = options.text("action"), options.text("snapshot")
    if chosen == "list":
        return _list(options, snapshots.list_(found, name))
    if chosen == "create":
        snapshots.create(found, name, which, options.text("description"))
    elif chosen == "restore":
        snapshots.restore(found, name, which)
    else:
        snapshots.remove(found, name, which)
    return 0


def _list(options: Options, found: list[Snapshot]) -> int:
    from pycontain.cli import table
    from pycontain.tenant.words import show_size

    form = options.text("format") or "table"
    if form == "json":
        rows = [
            {
                "name": one.name,
                "created": one.created,
                "kind": one.kind,
                "size": one.size if one.size >= 0 else None,
                "template": one.image,
                "description": one.description,
            }
            for one in found
        ]
        table.show(table.json_lines(rows))
        return 0
    if form != "table":
        raise UsageError(f"--format {form!r}: table or json")
    cells = [
        [one.name, one.created, one.kind, show_size(one.size) if one.size >= 0 else "-", one.image, one.description]
        for one in found
    ]
    shown = table.columns(["NAME", "CREATED", "KIND", "SIZE", "TEMPLATE", "DESCRIPTION"], cells)
    table.show(shown.partition("\n")[2] if options.flag("no-header") else shown)
    return 0


def reinstall(options: Options) -> int:
    """A new root; the name of the snapshot that the old one became."""
    from pycontain.cli import table
    from pycontain.tenant import reinstall as installs

    keys = tenant_start.ssh_keys(options.many("ssh-key"))
    kept = installs.reinstall(
        tenants_of(options), options.text("tenant"), options.text("template"), options.flag("keep-old"), keys
    )
    if kept:
        table.show(f"snapshot {kept}\n")
    return 0


def export(options: Options) -> int:
    """Write an archive."""
    from pycontain.tenant import transfer

    transfer.export(
        tenants_of(options),
        options.text("tenant"),
        options.text("file"),
        options.flag("zstd"),
        options.text("snapshot"),
    )
    return 0


def import_(options: Options) -> int:
    """Make a tenant from an archive."""
    from pycontain.cli import table
    from pycontain.cli.verbs.tenant import id_number
    from pycontain.tenant import transfer

    wanted = transfer.Wanted(
        options.text("name"),
        id_number(options.text("id")) if options.has("id") else 0,
        options.text("template"),
        options.flag("new-addresses"),
        options.flag("trust"),
    )
    table.show(f"{transfer.import_(tenants_of(options), options.text('file'), wanted)}\n")
    return 0
