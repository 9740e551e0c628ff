"""A store on ext4, since an old kernel maps no owners on the guest's own tmpfs."""

from __future__ import annotations

_BEGIN = """
busybox modprobe loop 2>/dev/null
truncate -s 64M /tmp/image
mke2fs -q -F -t ext4 /tmp/image && mkdir -p /srv/store && mount -o loop /tmp/image /srv/store
cp -a /var/lib/pycontain/. /srv/store/
P="pycontain --root /srv/store --run-root /run/other"
"""


def script(body: str) -> str:
    """A script for a host, in which $P is pycontain with that store at /srv/store, and nothing is left of it."""
    return f"{_BEGIN}{body}\numount -l /srv/store; losetup -D\n"
