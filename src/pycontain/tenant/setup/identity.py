"""What no two machines may share, and a template's copies would: machine-id, and the keys of sshd."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.tenant.setup.root import Root

_SSH = "/etc/ssh"
_SYSTEMD = "/etc/systemd/system"
_UNIT = "pycontain-ssh-keys.service"
_UNIT_TEXT = """\
[Unit]
Description=Keys of this host for ssh
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
Before=ssh.service sshd.service ssh.socket sshd.socket

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
"""


def renew(root: Root) -> None:
    """Take the template's away; the first boot makes new ones. Raises OSError."""
    if root.exists("/etc/machine-id"):
        # empty, and not missing: systemd then takes the container's own (machine-id(5))
        root.write("/etc/machine-id", "", 0o444, keep=False)
    if not root.is_link("/var/lib/dbus/machine-id"):
        root.remove("/var/lib/dbus/machine-id")
    for name in root.names(_SSH):
        if name.startswith("ssh_host_"):
            root.remove(f"{_SSH}/{name}")
    if root.exists("/usr/bin/ssh-keygen") and root.exists(_SYSTEMD) and not root.exists(f"{_SYSTEMD}/{_UNIT}"):
        root.write(f"{_SYSTEMD}/{_UNIT}", _UNIT_TEXT)
        root.link(f"{_SYSTEMD}/multi-user.target.wants/{_UNIT}", f"../{_UNIT}")
