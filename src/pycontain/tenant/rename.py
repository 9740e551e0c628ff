"""rename: another name for a tenant that does not run. Each step may be done twice."""

from __future__ import annotations

import os

from pycontain.engine import names, owned, record, remove
from pycontain.kernel.errors import Error, InUse, os_text
from pycontain.tenant import dumps, place, service, state
from pycontain.tenant.hold import Tenant, hold
from pycontain.tenant.place import Tenants


def rename(tenants: Tenants, text: str, new: str) -> None:
    """Raises Missing; InUse where the new name is taken, or the tenant runs; Error."""
    place.check_name(new)
    if _come_so_far(tenants, text, new):
        with hold(tenants, new):
            return  # which has completed it
    with hold(tenants, text) as tenant:
        if tenant.name == new:
            raise InUse(f"tenant {new} has this name already")
        if tenant.alive():
            raise InUse(f"tenant {tenant.name} runs, under its name: stop it first")
        dumps.refuse(tenant, "renamed")
        with tenants.all_lock():
            if tenants.exists(new):
                raise InUse(f"tenant {new} exists already: choose another name")
            owner = names.owner(tenants.paths, place.container_name(new))
            if owner:
                raise InUse(f"the name {place.container_name(new)} is container {owner[:12]}'s: choose another name")
            tenant.phase(state.RENAMING, to=new, old=tenant.name)
            _finish(tenant)
        _follow(tenant)


def _come_so_far(tenants: Tenants, text: str, new: str) -> bool:
    """Whether the same rename was interrupted when the old name was gone."""
    if os.path.isdir(tenants.state_directory(text)):
        return False
    try:
        found = tenants.state(new)
    except Error:
        return False
    return found is not None and found.phase == state.RENAMING and found.detail.get("old") == text


def recover(tenant: Tenant) -> None:
    """Go on where it was interrupted. Raises Error."""
    _finish(tenant)
    _follow(tenant)


def _follow(tenant: Tenant) -> None:
    """The unit of its new name, where it starts with the host; none of its old one."""
    service.follow_or_say(tenant.tenants, str(tenant.state.detail["old"]), tenant.name)
    tenant.settle()


def _finish(tenant: Tenant) -> None:
    """The container, the settings, then the directory with the state. Raises Error."""
    tenants, old, new = tenant.tenants, tenant.name, str(tenant.state.detail["to"])
    _container(tenant, new)
    try:
        if os.path.exists(tenants.settings_path(old)):
            os.rename(tenants.settings_path(old), tenants.settings_path(new))
        if not os.path.isdir(tenants.state_directory(new)):
            os.rename(tenants.state_directory(old), tenants.state_directory(new))
    except OSError as error:
        raise Error(f"cannot rename {error.filename}: {os_text(error)}") from None
    tenant.name = new


def _container(tenant: Tenant, new: str) -> None:
    paths, container = tenant.paths, tenant.state.container
    wanted = place.container_name(new)
    if names.owner(paths, wanted) != container:
        remove.rename(paths, container, wanted)
    try:
        if owned.tenant_of(paths, container) != new:
            with record.Lock(paths, container):
                found = record.read(paths, container)
                found.name, found.tenant = wanted, new
                record.write(paths, found)
        # of a rename that was interrupted between its steps
        names.drop(paths, place.container_name(str(tenant.state.detail["old"])), container)
    except OSError as error:
        raise Error(f"cannot write the record of container {container[:12]}: {os_text(error)}") from None
