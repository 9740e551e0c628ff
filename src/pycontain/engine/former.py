"""The network of a container that is started again in place: its settings may have changed since its last life, whose
addresses are its own until now.
"""

from __future__ import annotations

from pycontain.engine import connect as engine_connect
from pycontain.engine import repair
from pycontain.kernel import rtnl
from pycontain.kernel.errors import Error
from pycontain.network import lease, routed, settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.connect import Connection
    from pycontain.engine.paths import Paths
    from pycontain.engine.record import Record


def connect(paths: Paths, record: Record, result: Connection) -> None:
    """As connect.py; what this life does not have any more is given back. Raises Error."""
    before = _routed(paths, record) if settings.exists(paths.root) else []
    engine_connect.join(paths, record, result)
    owners = lease.leases(paths.run_root)
    gone = [item for item, owner in owners.items() if owner == record.id and item not in result.addresses]
    for one in before:
        for address in one.addresses:
            if address in gone:
                _silence(one, address)
    lease.give_back(paths.run_root, record.id, gone)
    if "routed" not in (record.network, *[one["network"] for one in record.networks]):
        repair.unlink(f"{paths.run(record.id)}/routed")


def _routed(paths: Paths, record: Record) -> list[routed.Routed]:
    try:
        return routed.load_all(paths.run_root, settings.load(paths.root), record.id)[0]
    except Error:
        return []  # damaged: who answers for an address that has no route elsewhere is not heard


def _silence(one: routed.Routed, address: str) -> None:
    requests = routed.silence_requests(one, address)
    try:
        if requests:
            rtnl.send(requests)
    except OSError:
        pass  # nobody answers by now
