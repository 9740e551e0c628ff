"""reinstall: a tenant's root as its template has it, or another template; its settings stay."""

from __future__ import annotations

from pycontain.image import find
from pycontain.kernel.errors import UsageError
from pycontain.storage import disk, replace
from pycontain.tenant import reroot, snapshots, state
from pycontain.tenant.hold import hold
from pycontain.tenant.template import find_template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.tenant.place import Tenants

#: The snapshot that an old root becomes.
KEPT = "before-reinstall"


def reinstall(tenants: Tenants, text: str, template: str = "", keep: bool = False, keys: Sequence[str] = ()) -> str:
    """template: "" for the one that it has, as it is now. keep: the old root becomes a snapshot, whose name is given.
    keys: root's, for ssh.

    Raises Missing, NotFound, InUse where it runs, UsageError, Error.
    """
    with hold(tenants, text) as tenant:
        reroot.need_stopped(tenant, "install it anew")
        settings = tenant.settings()
        wanted = template or settings.template
        found = find_template(tenants.paths.root, wanted)
        if not found.labelled and not settings.boot.init:
            raise UsageError(
                f"image {wanted} is no template: it does not say what its init is: give boot.init, or another"
            )
        image = find.lookup(tenants.paths.root, wanted)
        assert image is not None
        own = reroot.disk_of(tenant)
        kept = snapshots.free_name(tenant, KEPT) if keep else ""

        def make(base: str) -> int:
            replace.make(tenants.paths.root, base, tenant.container, own)
            return replace.open_upper(base, own, disk.NEW)

        plan = reroot.Plan(image, own, make)
        plan.keep, plan.first, plan.keys = kept, True, list(keys)
        plan.template = wanted if wanted != settings.template else ""
        reroot.apply(tenant, state.REINSTALLING, plan)
        return kept
