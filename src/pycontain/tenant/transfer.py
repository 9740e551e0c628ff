"""export and import: a tenant as one file (pack.py, unpack.py), compressed by zstd(1) where that is asked for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

from pycontain.engine import load
from pycontain.image import find
from pycontain.image.reference import is_id
from pycontain.kernel.errors import Error, InUse, NotFound, UsageError, os_text
from pycontain.storage import replace
from pycontain.storage.disk import Disk
from pycontain.tenant import disk as disks
from pycontain.tenant import file, life, pack, place, snapshot, snapshots, state, unpack
from pycontain.tenant.hold import hold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

    from pycontain.engine.record import Record
    from pycontain.tenant.hold import Tenant
    from pycontain.tenant.place import Tenants

VERSION = 1
STANDARD = "-"
#: Settings by which an archive could do something to this host: commands of root, its files and devices; routes of the
#: host's, and what others wait for when it starts; what it has before others, who have the less.
OUTSIDE = (
    "hooks",
    "mounts",
    "rights",
    "features",
    "boot.onboot",
    "boot.order",
    "boot.delay",
    "memory.guarantee",
    "cpu.units",
    "io.weight",
)
#: The same, in each device of the network.
OUTSIDE_DEVICE = ("addresses", "mac")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def _warn(text: str) -> None:
    from pycontain.kernel.errors import printable

    sys.stderr.write(f"pycontain: warning: {printable(text)}\n")


# --- export -------------------------------------------------------------------------------------------------------


def export(tenants: Tenants, text: str, target: str, compress: bool, snapshot_name: str = "") -> None:
    """Write a tenant, or one of its snapshots, to a file (or "-"); one that runs stands still meanwhile.

    The file has its name when it is complete. Raises Missing, NotFound, UsageError, Error.
    """
    compress = compress or target.endswith((".zst", ".zstd"))
    if target == STANDARD and os.isatty(1):
        raise UsageError("standard output is a terminal: redirect the archive to a file or a pipe")
    with hold(tenants, text) as tenant:
        found = load.read_record(tenant.paths, tenant.container)
        if snapshot_name:
            taken = snapshots.find(tenant, snapshot_name)
            found.image, found.image_id = taken.image, taken.image_id
            upper = taken.open_upper()
            try:
                _export(tenant, found, upper, target, compress)
            finally:
                os.close(upper)
            return

        def act() -> None:
            own = replace.open_upper(tenant.paths.container(found.id), Disk.of(found.disk))
            try:
                replace.sync(own)
                _export(tenant, found, own, target, compress)
            finally:
                os.close(own)

        snapshot.quiet(tenant, "", act)


def _export(tenant: Tenant, found: Record, upper: int, target: str, compress: bool) -> None:
    facts = {
        "version": VERSION,
        "name": tenant.name,
        "image": found.image,
        "image_id": found.image_id,
        "created": found.created,
    }
    settings = file.read_text(tenant.path).encode()
    data = json.dumps(facts, indent=2).encode() + b"\n"
    with _sink(target) as sink, _compressed(sink, compress) as out:
        pack.write(out, data, settings, upper, _warn)


@contextmanager
def _sink(target: str) -> Iterator[IO[bytes]]:
    """Where an archive goes to. Raises Error; then nothing is left of it."""
    if target == STANDARD:
        sys.stdout.flush()
        with open(os.dup(1), "wb") as out:
            try:
                yield out
            except BaseException:
                # what is still in Python's buffer would wait for a reader, and with it a tenant that stands still
                with open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), out.fileno(), inheritable=False)
                raise
        return
    above, name = os.path.split(target)
    if not name:
        raise UsageError(f"{target!r} is a directory: give the name of a file")
    part = f"{above or '.'}/.{name}.{os.getpid()}.part"
    try:
        # what a tenant's users keep secret, and its passwords
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Error(f"cannot write {target}: {os_text(error)}") from None
    try:
        with open(fd, "wb") as out:
            yield out
            out.flush()
            os.fsync(fd)
        os.rename(part, target)
    except BaseException as error:
        os.unlink(part)
        if isinstance(error, OSError):
            raise Error(f"cannot write {target}: {os_text(error)}") from None
        raise


@contextmanager
def _compressed(out: IO[bytes], wanted: bool) -> Iterator[IO[bytes]]:
    if not wanted:
        yield out
        return
    process = _zstd(["-q", "-c", "-T0"], stdin=subprocess.PIPE, stdout=out)
    assert process.stdin is not None
    try:
        yield process.stdin
        process.stdin.close()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.wait():
        raise Error(f"zstd failed with status {process.returncode}: is there room for the archive?")


def _zstd(arguments: list[str], **more: Any) -> subprocess.Popen[bytes]:
    program = shutil.which("zstd")
    if not program:
        raise Error("zstd is missing: install it (apt-get install zstd), or use archives without compression")
    return subprocess.Popen([program, *arguments], **more)


# --- import -------------------------------------------------------------------------------------------------------


class Wanted:
    """What is to be different from what the archive says. name: "" for its own; number: 0 for the next free one.

    template: an image in place of the one that it was made from. fresh: without its addresses. trust: with settings
    that reach beyond the tenant (OUTSIDE), too.
    """

    __slots__ = ("fresh", "name", "number", "template", "trust")

    def __init__(
        self, name: str = "", number: int = 0, template: str = "", fresh: bool = False, trust: bool = False
    ) -> None:
        self.name = name
        self.number = number
        self.template = template
        self.fresh = fresh
        self.trust = trust


def import_(tenants: Tenants, source: str, wanted: Wanted) -> str:
    """Make a tenant from an archive ("-": standard input); its name. Raises UsageError, NotFound, InUse, Error; then
    nothing is left of it.
    """
    what = "standard input" if source == STANDARD else source
    with _source(source) as stream:
        reader = unpack.Reader(stream, what)
        facts, text = _head(reader, what)
        name = wanted.name or str(facts["name"])
        place.check_name(name)
        tenants.paths.prepare()
        template = _template(tenants, facts, wanted)
        settings = file.parse(text, f"{what}: {pack.SETTINGS}")
        changes: dict[str, Any] = {"id": wanted.number or None, "template": template}
        if wanted.fresh:
            changes |= dict.fromkeys(_of_devices(settings.plain()))
        if not wanted.trust:
            changes |= dict.fromkeys(_outside(settings.plain(), wanted.fresh))

        def fill(tenant: Tenant) -> None:
            _fill(tenant, reader, disks.limits(tenant.settings())[0])

        if tenants.exists(name):
            raise InUse(f"tenant {name} exists already: give --name with another name")
        life.create(tenants, name, lambda _: changes, phase=state.IMPORTING, draft=text, fill=fill)
        return name


def _of_devices(plain: dict[str, Any]) -> list[str]:
    """The keys of OUTSIDE_DEVICE that settings have."""
    devices = enumerate(plain["network"])
    return [f"network.{index}.{key}" for index, device in devices for key in OUTSIDE_DEVICE if device[key]]


def _outside(plain: dict[str, Any], fresh: bool) -> list[str]:
    """The keys of both that settings have, each told in a line. fresh: those of devices are not wanted anyway."""
    from pycontain.tenant.settings import check

    default = check({"version": plain["version"]}, "").plain()
    found = [key for key in OUTSIDE if _at(plain, key) != _at(default, key)]
    found += [] if fresh else _of_devices(plain)
    for key in found:
        _warn(f"{key}: left out: it reaches beyond the tenant, and an archive may be anybody's: --trust keeps it")
    return found


def _at(plain: dict[str, Any], key: str) -> object:
    value: Any = plain
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _head(reader: unpack.Reader, what: str) -> tuple[dict[str, Any], str]:
    head, settings = reader.head()
    try:
        facts = json.loads(head)
        text = settings.decode()
    except (ValueError, RecursionError):
        raise UsageError(f"{what} is no archive of a tenant: its facts or settings are damaged") from None
    if type(facts) is not dict or facts.get("version") != VERSION:
        raise UsageError(f"{what} is no archive of a tenant of version {VERSION}")
    for key in ("name", "image", "image_id"):
        if type(facts.get(key)) is not str:
            raise UsageError(f"{what} is no archive of a tenant: {key} is missing in {pack.FACTS}")
    return facts, text


def _template(tenants: Tenants, facts: dict[str, Any], wanted: Wanted) -> str:
    """The name of the image that the new tenant is to lie on. Raises NotFound, UsageError."""
    root = tenants.paths.root
    name, identity = facts["image"], facts["image_id"]
    if wanted.template:
        if find.lookup(root, wanted.template) is None:
            raise NotFound(f"--template {wanted.template}: there is no such image: 'pycontain image ls' lists them")
        return wanted.template
    same = find.lookup(root, identity) if is_id(identity) else None
    if same is not None:
        return same.names[0] if same.names else identity
    there = find.lookup(root, name)
    if there is None:
        raise NotFound(
            f"its template {name} ({identity}) is not here: 'pycontain image build {name}' makes one that ships with"
            f" pycontain; then import it with --template {name}"
        )
    raise UsageError(
        f"its template {name} has another ID here, {there.id}, than where it was exported, {identity}: files of the two"
        f" may differ: give --template {name} to use it all the same"
    )


def _fill(tenant: Tenant, reader: unpack.Reader, room: int) -> None:
    found = load.read_record(tenant.paths, tenant.state.container)
    upper = replace.open_upper(tenant.paths.container(found.id), Disk.of(found.disk))
    try:
        reader.extract(upper, room, _warn)
        replace.sync(upper)
    finally:
        os.close(upper)


@contextmanager
def _source(source: str) -> Iterator[IO[bytes]]:
    """An archive to read, whatever it is compressed by. Raises Error."""
    try:
        stream = open(os.dup(0) if source == STANDARD else source, "rb")
    except OSError as error:
        raise Error(f"{source}: {os_text(error)}") from None
    with stream:
        try:
            compressed = stream.peek(len(_ZSTD_MAGIC)).startswith(_ZSTD_MAGIC)
        except OSError as error:
            raise Error(f"{source}: {os_text(error)}") from None
        if not compressed:
            yield stream
            return
        # what peek has read is in Python's buffer: a file begins anew, a pipe goes through us
        with _unzstd(stream) as plain:
            yield plain


@contextmanager
def _unzstd(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    import threading

    process = _zstd(["-q", "-d", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None and process.stdout is not None
    feeder = threading.Thread(target=_feed, args=(stream, process.stdin), daemon=True)
    feeder.start()
    try:
        yield process.stdout
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _feed(stream: IO[bytes], into: IO[bytes]) -> None:
    try:
        shutil.copyfileobj(stream, into, 1 << 18)
        into.close()
    except (OSError, ValueError):
        pass  # the other side has gone, and says why
