"""The root filesystem of test hosts: a small Debian of this machine's release, made by mmdebstrap and kept."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.host import bootstrap, cache
from tests.host.cache import NotReady

#: What jobs may use, beside Debian's essential packages (util-linux is one). The interpreter is the project's.
PACKAGES = (
    *("python3", "ca-certificates", "busybox-static", "kmod", "procps", "iproute2", "nftables"),
    *("e2fsprogs", "xfsprogs"),
    # libraries of Python packages in the project's virtual environment
    *("libcap2", "libseccomp2"),
    # libpam-systemd: a user manager wants a session, logind and a runtime directory
    *("systemd", "systemd-container", "dbus", "libpam-systemd", "dbus-user-session", "uidmap"),
)
#: An ordinary user, with ranges of subordinate IDs.
USER, USER_ID = "tester", 1000

_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
_HOOKS = (
    f'chroot "$1" useradd --create-home --uid {USER_ID} --shell /bin/bash {USER}',
    # a name look-up must not wait for a network that is not there
    'printf "127.0.0.1 localhost\\n" >"$1/etc/hosts"; rm -f "$1/etc/resolv.conf"; echo uml >"$1/etc/hostname"',
    ': >"$1/etc/fstab"; printf uninitialized >"$1/etc/machine-id"',
    # bytecode for root, who starts Python first and often
    'chroot "$1" python3 -m compileall -q /usr/lib/python3.* >/dev/null || true',
)


def release() -> str:
    """This machine's release of Debian: the project's virtual environment fits no other. Raises NotReady."""
    fields = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    name = fields.get("VERSION_CODENAME", "").strip('"')
    if fields.get("ID", "").strip('"') != "debian" or not name:
        raise NotReady("the test host wants a Debian machine: /etc/os-release does not say ID=debian and a codename")
    return name


def root() -> Path:
    """The root filesystem; made at first. Raises NotReady."""
    name = release()
    command = [
        *("mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"),
        f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        *(f"--customize-hook={hook}" for hook in _HOOKS),
        name,
    ]

    def make(path: Path) -> None:
        print("test host: making its root filesystem", file=sys.stderr)
        bootstrap.unpack("the test host's root", command, path)

    return cache.kept("root", cache.digest(command), make)
