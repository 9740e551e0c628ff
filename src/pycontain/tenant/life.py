"""create, start, stop, restart, suspend, resume, destroy."""

from __future__ import annotations

import os
import sys

from pycontain.engine import life as containers
from pycontain.engine import names, owned, remove, repair, run
from pycontain.engine import start as containers_start
from pycontain.engine.remake import remake
from pycontain.image import find
from pycontain.kernel import config
from pycontain.kernel.errors import Error, InUse, NotFound, UsageError, os_text
from pycontain.tenant import boot, disk_of, dumps, file, hooks, needs, place, service, snapshots, state, wish
from pycontain.tenant import disk as disks
from pycontain.tenant.hold import Tenant, hold, refuse_orphan
from pycontain.tenant.place import Missing, Tenants
from pycontain.tenant.setup import steps
from pycontain.tenant.template import Template, find_template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from pycontain.engine.create import Made
    from pycontain.engine.request import Request
    from pycontain.engine.start import Attachment
    from pycontain.tenant.settings import Settings

#: What one tenant does not take over from another: they are on one tenant only.
_OWN = ("id", "hostname")


# --- create -------------------------------------------------------------------------------------------------------


def create(
    tenants: Tenants,
    name: str,
    changes: file.Changes,
    like: str = "",
    keys: Sequence[str] = (),
    *,
    phase: str = state.CREATING,
    draft: str = "",
    fill: Callable[[Tenant], None] | None = None,
) -> None:
    """Make a tenant: its settings, its state, its container. changes: to what ``like``, or a settings file
    that is there already, says. keys: root's, for ssh. draft: the text of its settings, of an archive; fill: brings its
    files (transfer.py). Raises UsageError, InUse, NotFound, Error; then nothing is left of it.
    """
    place.check_name(name)
    tenants.paths.prepare()
    tenants.sweep()
    _refuse_existing(tenants, name)
    text, made = (file.changed(draft, changes({})), True) if draft else _draft(tenants, name, changes, like)
    settings = file.parse(text, tenants.settings_path(name))
    _need_template(tenants, settings)
    with tenants.all_lock():
        _refuse_existing(tenants, name)
        refuse_orphan(tenants, name)
        check_addresses(tenants, name, settings)
        number = _number(tenants, name, settings)
        text = file.changed(text, {"id": number})
        settings = file.parse(text, tenants.settings_path(name))
        tenant = _begin(tenants, name, number, made)
        held = tenants.lock(name)
        tenant.phase(phase, made=made)
    with held:
        try:
            tenant.state.container = run.create(tenants.paths, request_of(tenant, settings))
            file.write(tenant.path, text)
            if fill is not None:
                fill(tenant)
            else:
                steps.at_creation(tenant, settings, template_of(tenant, settings), list(keys))
            tenant.state.wanted = "stopped"
            tenant.settle()
        except BaseException:
            undo_create(tenant)
            raise
    service.follow_or_say(tenants, name)


def _refuse_existing(tenants: Tenants, name: str) -> None:
    """Raises InUse where there is such a tenant; what is half made of one goes."""
    if not os.path.isdir(tenants.state_directory(name)):
        return
    try:
        with hold(tenants, name) as found:
            number = found.state.id
    except Missing:
        return
    raise InUse(f"tenant {name} exists already, with the number {number}: 'pycontain tenant set' changes it")


def _draft(tenants: Tenants, name: str, changes: file.Changes, like: str) -> tuple[str, bool]:
    """The text of its settings, and whether they are new: not a file that somebody has written."""
    path = tenants.settings_path(name)
    if os.path.exists(path):
        if like:
            raise InUse(f"{path} is there already: --like would replace it: remove it, or leave --like out")
        text = file.read_text(path)
        return file.changed(text, changes(file.raw(text, path))), False
    if not like:
        return file.fresh(changes({})), True
    other = tenants.find(like)
    text = file.read_text(tenants.settings_path(other))
    settings = file.parse(text, tenants.settings_path(other))
    own: dict[str, Any] = dict.fromkeys(_OWN)
    for index, _ in enumerate(settings.network):
        own |= {f"network.{index}.addresses": None, f"network.{index}.mac": None}
    text = file.changed(text, own)
    return file.changed(text, changes(file.raw(text, path))), True


def _need_template(tenants: Tenants, settings: Settings) -> None:
    """Raises UsageError where there is none, or one that cannot be booted; builds one that ships with pycontain."""
    if not settings.template:
        raise UsageError("template: which image it is made from: give --template, such as debian-vps, or --like OTHER")
    if find.lookup(tenants.paths.root, settings.template) is None:
        try:
            run.build_shipped(tenants.paths, settings.template)
        except NotFound:
            find_template(tenants.paths.root, settings.template)
    found = find_template(tenants.paths.root, settings.template)
    if not found.labelled and not settings.boot.init:
        raise UsageError(
            f"image {settings.template} is no template: it does not say what its init is (label io.pycontain.template):"
            " give --init, or a template such as debian-vps"
        )


def _number(tenants: Tenants, name: str, settings: Settings) -> int:
    from pycontain.tenant.settings import FIRST_ID

    taken = tenants.numbers()
    if settings.id:
        owner = taken.get(settings.id, name)
        if owner != name:
            raise InUse(f"the number {settings.id} is tenant {owner}'s: choose another, or leave it out")
        return settings.id
    number = FIRST_ID
    while number in taken:
        number += 1
    return number


def check_addresses(tenants: Tenants, name: str, settings: Settings) -> None:
    """Raises InUse where another tenant's settings have an address of these, Error for one that its kind of device
    cannot have.
    """
    wanted = {address for device in settings.network for address in device.addresses}
    if not wanted:
        return
    from pycontain.tenant import network

    network.check(tenants.paths.root, settings)
    for address, owner in tenants.addresses().items():
        if address in wanted and owner != name:
            raise InUse(f"the address {address} is tenant {owner}'s: an address is on one tenant only")


def _begin(tenants: Tenants, name: str, number: int, made: bool) -> Tenant:
    path = tenants.state_directory(name)
    try:
        os.mkdir(path, 0o700)
    except OSError as error:
        raise Error(f"cannot make {path}: {os_text(error)}") from None
    begun = state.State(id=number, directory=tenants.directory, phase=state.CREATING, detail={"made": made})
    return Tenant(tenants, name, begun)


def undo_create(tenant: Tenant) -> None:
    """As if nothing had been: but a settings file that somebody else has written stays. Raises Error."""
    _remove_container(tenant)
    if tenant.state.detail.get("made"):
        repair.unlink(tenant.path)
    file.discard_leftover(tenant.path)
    tenant.tenants.discard(tenant.name)


def _remove_container(tenant: Tenant) -> None:
    """The container goes; found by its name as well, which it has before anybody knows its ID. Raises Error."""
    repair.repair_pending(tenant.paths)
    owner = names.owner(tenant.paths, place.container_name(tenant.name))
    found = {tenant.state.container} if tenant.state.container else set()
    if owner and owned.tenant_of(tenant.paths, owner) == tenant.name:
        found.add(owner)
    for container in found:
        remove.remove(tenant.paths, container, force=True)
        _give_back(tenant, container)


def _give_back(tenant: Tenant, container: str) -> None:
    """Addresses that it has got since its start: its monitor did not know of them."""
    if os.path.isdir(f"{tenant.paths.run_root}/network/leases"):
        from pycontain.network import lease

        owners = lease.leases(tenant.paths.run_root)
        lease.give_back(tenant.paths.run_root, container, [one for one, owner in owners.items() if owner == container])


# --- start and stop -----------------------------------------------------------------------------------------------


def template_of(tenant: Tenant, settings: Settings) -> Template:
    """The template that its root lies on: of its container where there is one. Raises Error."""
    from pycontain.engine import record

    image = settings.template
    if tenant.state.container:
        try:
            image = record.read(tenant.paths, tenant.state.container).image_id
        except (FileNotFoundError, Error):
            pass
    found = find_template(tenant.paths.root, image)
    found.image = settings.template
    return found


def request_of(tenant: Tenant, settings: Settings) -> Request:
    """What its container is to be. Raises Error."""
    disk = disk_of.find(tenant.paths.root)
    found = wish.request(tenant.name, settings, template_of(tenant, settings), disk)
    found.disk = disks.wanted(tenant.paths.root, settings)
    return found


def start(tenants: Tenants, text: str, rescue: Sequence[str] = ()) -> None:
    """Start it, by systemd where it is enabled there; one that runs is no error. rescue: a command in the place of its
    init. Raises Missing, InUse, Error.
    """
    tenants.paths.prepare()
    name = tenants.find(text)
    if not rescue and service.manages(tenants, name) and not boot.running(tenants, name):
        service.start(tenants, name)
        return
    with hold(tenants, text) as tenant:
        if rescue and tenant.alive():
            raise InUse(f"tenant {tenant.name} runs: stop it first, to start it with another command than its init")
        start_held(tenant, rescue)


def start_held(tenant: Tenant, rescue: Sequence[str] = (), parent: str = "", how: Attachment | None = None) -> None:
    """As start, for who has its lock. parent: the cgroup that it is to be in. how: this process becomes its monitor,
    which does not come back, instead of one of its own.
    """
    repair.repair(tenant.paths, tenant.container)
    if tenant.alive():
        return
    _give_back(tenant, tenant.container)
    settings = tenant.settings()
    _check_number(tenant, settings)
    if rescue:
        dumps.refuse(tenant, "started with another command than its init")
    tenant.state.doing = "starting"
    tenant.save()
    try:
        hooks.run(tenant, settings.hooks, hooks.PRE_START)
        if dumps.there(tenant) and _revive(tenant, parent, how):
            hooks.run_late(tenant, settings.hooks, hooks.POST_START)
            return
        disks.at_start(tenant, settings)
        request = request_of(tenant, settings)
        if parent:
            request.cgroup_parent, request.cgroup_manager = parent, config.CGROUPFS
        if rescue:
            wish.rescue(request, rescue)
        made = remake(tenant.paths, tenant.container, request)
        begin(tenant, settings, made)
        if how is not None:
            tenant.state.doing = tenant.state.failure = ""
            tenant.save()
            containers_start.start(tenant.paths, made, how, fresh=False)
        run.launch(tenant.paths, made, f"tenant {tenant.name}")
        tenant.state.failure = ""
    except BaseException as error:
        tenant.state.failure = error.message if isinstance(error, Error) else "it was interrupted"
        raise
    finally:
        tenant.state.doing = ""
        tenant.save()
    hooks.run_late(tenant, settings.hooks, hooks.POST_START)


def _revive(tenant: Tenant, parent: str, how: Attachment | None) -> bool:
    """Have it go on from its dump. False where that cannot be: it is started anew then, and the dump is kept aside."""
    from pycontain.tenant import revive

    try:
        # said before it is so: who becomes its monitor has no moment for it
        tenant.state.wanted = "running"
        tenant.save()
        boot.forget(tenant.tenants, tenant.name)
        if how is not None:
            revive.become(tenant, how, parent)
        revive.start(tenant)
        tenant.state.failure = ""
    except Error as error:
        dumps.set_aside(tenant)
        text = f"tenant {tenant.name}: it could not go on from where it was suspended, and is started anew: {error}"
        print(f"pycontain: warning: {text}", file=sys.stderr, flush=True)
        repair.repair(tenant.paths, tenant.container)
        return False
    return True


def begin(tenant: Tenant, settings: Settings, made: Made) -> None:
    """Write down with what it is started, before it is. Raises Error; then the container is given back."""
    try:
        steps.at_start(tenant, settings, template_of(tenant, settings))
        tenant.state.running = settings.plain()
        tenant.state.wanted = "running"
        tenant.save()
        boot.forget(tenant.tenants, tenant.name)
    except BaseException:
        made.claim.release()
        raise


def _check_number(tenant: Tenant, settings: Settings) -> None:
    """Of its addresses the leases tell whether another one has them now: files of all others need not be read."""
    if settings.id and settings.id != tenant.state.id:
        raise Error(
            f"{tenant.path}: id: it is {settings.id}, but the tenant has the number {tenant.state.id} for its life"
        )


def stop(tenants: Tenants, text: str, seconds: int | None = None, fast: bool = False) -> None:
    """Ask its init to power off, kill it after its timeout, or ``seconds`` (-1: never); fast: kill it at once.

    One that does not run is no error. Raises Missing, Error.
    """
    tenants.paths.prepare()
    with hold(tenants, text) as tenant:
        if dumps.there(tenant):
            dumps.discard(tenant)
        stop_held(tenant, seconds, fast)
        name = tenant.name
    # a unit that would start it again is not to
    service.stop(tenants, name)


def stop_held(tenant: Tenant, seconds: int | None = None, fast: bool = False) -> None:
    """As stop, for who has its lock."""
    tenant.state.wanted = "stopped"
    tenant.state.failure = ""
    if not tenant.state.container or not tenant.alive():
        if tenant.state.container:
            repair.repair(tenant.paths, tenant.state.container)
        tenant.save()
        return
    settings = _settings_or_none(tenant)
    tenant.state.doing = "stopping"
    tenant.save()
    try:
        if settings is not None and not fast:
            hooks.run(tenant, settings.hooks, hooks.PRE_STOP)
        if fast:
            containers.end(tenant.paths, tenant.state.container)
        else:
            known = settings.boot.stop_timeout if settings is not None else None
            containers.stop(tenant.paths, tenant.state.container, known if seconds is None else seconds)
    finally:
        tenant.state.doing = ""
        if tenant.alive():
            tenant.state.wanted = "running"
        tenant.save()
    if settings is not None:
        hooks.run_late(tenant, settings.hooks, hooks.POST_STOP)


def _settings_or_none(tenant: Tenant) -> Settings | None:
    """A settings file that cannot be read is no reason to let a tenant run on."""
    try:
        return tenant.settings()
    except Error:
        return None


def restart(tenants: Tenants, text: str, seconds: int | None = None, fast: bool = False) -> None:
    """Stop and start, with nobody in between. Raises Missing, Error."""
    tenants.paths.prepare()
    with hold(tenants, text) as tenant:
        _check_restart(tenant, tenant.settings())
        if dumps.there(tenant):
            dumps.discard(tenant)
        stop_held(tenant, seconds, fast)
        name = tenant.name
        if not service.manages(tenants, name):
            start_held(tenant)
            return
    service.restart(tenants, name)


def _check_restart(tenant: Tenant, settings: Settings) -> None:
    """Before it is stopped for nothing. Raises InUse, Error."""
    with tenant.tenants.all_lock():
        check_addresses(tenant.tenants, tenant.name, settings)
    _check_number(tenant, settings)
    needs.check(settings)


def suspend(tenants: Tenants, text: str, frozen: bool) -> None:
    """Freeze it, or let it go on, from the disk as well. One that is so already is no error. Raises Missing, Error."""
    with hold(tenants, text) as tenant:
        on_disk = dumps.there(tenant)
        if not on_disk and not tenant.alive():
            raise Error(f"tenant {tenant.name} does not run: 'pycontain tenant start {tenant.name}' starts it")
        if not on_disk:
            try:
                containers.pause(tenant.paths, tenant.container, frozen)
            except InUse:
                pass
        name = tenant.name
    if on_disk and not frozen:
        start(tenants, name)


def suspend_to_disk(tenants: Tenants, text: str) -> None:
    """Save it with all that it has in memory, and end it: its next start lets it go on. Raises Missing, Error."""
    tenants.paths.prepare()
    with hold(tenants, text) as tenant:
        suspend_held(tenant)
        name = tenant.name
    # a unit that would start it again is not to
    service.stop(tenants, name)


def suspend_held(tenant: Tenant) -> None:
    """As suspend_to_disk, for who has its lock. Raises Error; then it goes on as it was."""
    alive = tenant.alive()
    settings = _settings_or_none(tenant)
    if alive and settings is not None:
        hooks.run(tenant, settings.hooks, hooks.PRE_STOP)
    from pycontain.tenant import dump

    dump.suspend(tenant)
    if alive and settings is not None:
        hooks.run_late(tenant, settings.hooks, hooks.POST_STOP)


def down(tenants: Tenants, text: str, seconds: int | None = None) -> list[str]:
    """As stop, for the host's going down: it is suspended to the disk where its settings say so. Lines of warning.

    Raises Missing, Error.
    """
    tenants.paths.prepare()
    with hold(tenants, text) as tenant:
        problem = down_held(tenant, seconds)
        name = tenant.name
    service.stop(tenants, name)
    return [problem] if problem else []


def down_held(tenant: Tenant, seconds: int | None = None) -> str:
    """The host goes down: it is suspended to the disk where its settings say so, and can be; else it is stopped.

    A line of warning, "" for none. Raises Error.
    """
    problem = ""
    settings = _settings_or_none(tenant)
    if settings is not None and settings.boot.shutdown == "suspend" and tenant.state.container and tenant.alive():
        try:
            suspend_held(tenant)
            return ""
        except Error as error:
            problem = f"{error.message}; it is stopped"
    stop_held(tenant, seconds)
    return problem


# --- destroy ------------------------------------------------------------------------------------------------------


def destroy(tenants: Tenants, text: str, force: bool = False) -> None:
    """Remove it with its files, snapshots and settings. Raises InUse where it runs and ``force`` is not given."""
    tenants.paths.prepare()
    tenants.sweep()
    try:
        with hold(tenants, text) as tenant:
            if tenant.alive() and not force:
                raise InUse(f"tenant {tenant.name} runs: stop it first, or give --force")
            if not force:
                dumps.refuse(tenant, "removed without --force")
            tenant.phase(state.DESTROYING)
            finish_destroy(tenant)
    except Missing:
        name = tenants.find(text)
        if os.path.isdir(tenants.state_directory(name)):
            raise
        # settings without state: the rest of something, or never made
        repair.unlink(tenants.settings_path(name))
    tenants.sweep()
    service.follow_or_say(tenants, text)


def finish_destroy(tenant: Tenant) -> None:
    """Each step may be done twice. Raises Error."""
    _remove_container(tenant)
    snapshots.remove_all(tenant)
    try:
        os.unlink(tenant.path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise Error(f"cannot remove {tenant.path}: {os_text(error)}") from None
    file.discard_leftover(tenant.path)
    tenant.tenants.discard(tenant.name)
