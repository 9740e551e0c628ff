"""systemd's services in a tenant that is to be suspended to the disk: CRIU saves no namespaces of host names, of IPC or
of users below those of the tenant's, which some services are given (systemd.exec(5)).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.tenant.setup.root import Root
    from pycontain.tenant.setup.wanted import Wanted

#: For all services; what an administrator says of a single one takes its place.
PATH = "/etc/systemd/system/service.d/50-pycontain-suspend.conf"
TEXT = """\
# pycontain writes this at each start: boot.shutdown is "suspend", and CRIU does not save what these make.
[Service]
ProtectHostname=no
PrivateIPC=no
PrivateUsers=no
"""
_SYSTEMD = ("/lib/systemd/systemd", "/usr/lib/systemd/systemd")


def write(root: Root, wanted: Wanted) -> None:
    """Write it where it is wanted, else take it away. Raises OSError."""
    if wanted.saved and any(root.exists(path) for path in _SYSTEMD):
        root.write(PATH, TEXT)
    elif wanted.saved is False and root.exists(PATH):
        root.remove(PATH)
